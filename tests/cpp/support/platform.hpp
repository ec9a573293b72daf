#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "ops/socket.hpp"

// The calls to the system itself that the contract suite needs.
namespace iocp::sim {
class World;
}

namespace iocp::platform {

// Returns the real backends of this system, whether or not they are refused here.
std::vector<std::string> backends();

// models() names the presets of the model, over which the suite runs too. model() makes a fresh
// world for one of them; null for a real backend's name.
std::vector<std::string> models();
std::shared_ptr<sim::World> model(const std::string& name);
bool socket_pair(sim::World& world, Handle& one, Handle& other);
// Runs the remaining events and expects that no machine holds anything of its own.
void expect_nothing_left(sim::World& world);

// Counts this process's descriptors, or its handles of sockets, files and completion ports.
std::size_t open_descriptors();

bool socket_pair(Handle& one, Handle& other);
Handle duplicate(Handle handle);
void close_handle(Handle handle);
// Makes an unnamed file with these bytes; close_file() ends it.
Handle make_file(const std::vector<std::byte>& bytes);
void cut_file(Handle file, std::size_t length);
void close_file(Handle file);

// Returns whether a socket can connect after a disconnect with reuse: not under Wine 8.0.
bool connects_again();

bool set_nonblocking(Handle handle);
bool is_nonblocking(Handle handle);

bool is_reset(int code);
bool is_refused(int code);
// Returns whether a datagram socket gets this code if no socket took its last datagram.
bool is_bounce(int code);
// Returns the reason why a connected datagram socket receives nothing after a bounce; null if it
// does.
const char* deaf_after_bounce();
// Returns whether a send that is too long for one datagram gets this code.
bool is_too_long(int code);

extern const int type_datagram;
// Flags of a receive.
extern const int flag_wait_all;
extern const int flag_peek;
// A flag that the result of a receive reports.
extern const int flag_truncated;
// Option numbers for Backend::set_option; each value is an int of bytes.
extern const int level_socket;
extern const int option_send_buffer;
extern const int option_receive_buffer;

}  // namespace iocp::platform
