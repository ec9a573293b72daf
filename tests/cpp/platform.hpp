#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/socket.hpp"

// The little that the contract suite asks of the system itself.
namespace iocp::sim {
class World;
}

namespace iocp::platform {

// The real backends there are on this system, whether or not they are refused here.
std::vector<std::string> backends();

// The presets of the model, which the suite runs over as well, and a fresh world for one of them;
// null for a real backend's name.
std::vector<std::string> models();
std::shared_ptr<sim::World> model(const std::string& name);
bool socket_pair(sim::World& world, Handle& one, Handle& other);
// Runs what is left to happen and expects that no machine has anything left of its own.
void expect_nothing_left(sim::World& world);

// How many descriptors this process has, or handles of sockets, files and completion ports.
std::size_t open_descriptors();

bool socket_pair(Handle& one, Handle& other);
Handle duplicate(Handle handle);
void close_handle(Handle handle);
// A file with these bytes and no name; close_file() when it is no longer wanted.
Handle make_file(const std::vector<std::byte>& bytes);
void cut_file(Handle file, std::size_t length);
void close_file(Handle file);

// Whether a socket that was disconnected to be used again can connect: not under Wine 8.0.
bool connects_again();

bool set_nonblocking(Handle handle);
bool is_nonblocking(Handle handle);

bool is_reset(int code);
bool is_refused(int code);
// What a datagram socket is told when nobody took its last datagram.
bool is_bounce(int code);
// Why a connected datagram socket hears nothing more after a bounce; null where it does.
const char* deaf_after_bounce();
// What a send of more than one datagram holds is refused with.
bool is_too_long(int code);

extern const int type_datagram;
// Flags of a receive.
extern const int flag_wait_all;
extern const int flag_peek;
// Flags that a receive comes with.
extern const int flag_truncated;
// Option numbers for Backend::set_option: an int of bytes each.
extern const int level_socket;
extern const int option_send_buffer;
extern const int option_receive_buffer;

}  // namespace iocp::platform
