#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "ops/socket.hpp"

// The system calls that the contract suite makes itself, for each platform.
namespace iocp::sim {
class World;
}

namespace iocp::platform {

// Returns the names of this system's backends, including those that the system refuses to run.
std::vector<std::string> backends();

// models() returns the names of the model's presets, on which the suite runs too. model() makes a
// new world for such a name, and returns null for the name of a backend.
std::vector<std::string> models();
std::shared_ptr<sim::World> model(const std::string& name);
bool socket_pair(sim::World& world, Handle& one, Handle& other);
// Runs the model's remaining events, and expects that no endpoint, locked page or pool memory is
// left.
void expect_nothing_left(sim::World& world);

// Counts this process's open descriptors; on Windows its handles of sockets, files and completion
// ports.
std::size_t open_descriptors();

bool socket_pair(Handle& one, Handle& other);
Handle duplicate(Handle handle);
void close_handle(Handle handle);
// Makes a temporary file with these bytes, which close_file() deletes.
Handle make_file(const std::vector<std::byte>& bytes);
void cut_file(Handle file, std::size_t length);
void close_file(Handle file);

// Returns whether a socket can connect again after a disconnect with reuse. Under Wine 8.0 it
// cannot.
bool connects_again();

bool set_nonblocking(Handle handle);
bool is_nonblocking(Handle handle);

bool is_reset(int code);
bool is_refused(int code);
// Returns whether this error of a datagram socket means that no socket took an earlier datagram.
bool is_bounce(int code);
// Returns the reason why a connected datagram socket receives nothing after an error for which
// is_bounce() is true; null where it still receives.
const char* deaf_after_bounce();
// Returns whether this error means that a send was too long for one datagram.
bool is_too_long(int code);

extern const int type_datagram;
// Flags that a receive may be posted with.
extern const int flag_wait_all;
extern const int flag_peek;
// The flag that a receive reports for a truncated datagram.
extern const int flag_truncated;
// The level and the numbers of the buffer sizes for Backend::set_option. Each value is an int, in
// bytes.
extern const int level_socket;
extern const int option_send_buffer;
extern const int option_receive_buffer;

}  // namespace iocp::platform
