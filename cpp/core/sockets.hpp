#pragma once

#include <cstddef>
#include <cstdint>

#include "base/slot_table.hpp"
#include "core/admission.hpp"
#include "core/calls.hpp"
#include "core/port_options.hpp"
#include "core/timers.hpp"
#include "ops/socket.hpp"

namespace iocp {

// There was no memory for a new socket, whether opened, adopted, watched or accepted.
inline constexpr Error no_socket = Error::of(Fault::resource, "no memory for a socket");
inline constexpr Error port_is_closed =
    Error::of(Fault::port_closed, "the port is closed; make a new one");
inline constexpr Error only_watched =
    Error::of(Fault::argument,
              "the descriptor is only watched: post recv_zero() or wait_writable(), and use the "
              "descriptor itself for everything else");
inline constexpr Error socket_is_closed = Error::of(Fault::socket_closed, "the socket is closed");

// A handle of the caller that becomes a socket of the port.
struct Adopted {
    Handle handle{no_handle};
    bool nonblocking{false};  // the handle's mode, for systems that do not report it
    bool borrowed{false};     // the socket's end leaves the handle open for the caller
};

// Makes the port's sockets: opens, adopts or accepts them.
class Sockets {
public:
    Sockets(const PortOptions& options, SocketBackend& backend, Calls& calls, Timers& timers,
            Admission& admission, SlotTable<Socket>& table)
        : options_(options),
          backend_(backend),
          calls_(calls),
          timers_(timers),
          admission_(admission),
          table_(table) {}

    Error open(int family, int type, int protocol, Socket*& out);
    Error adopt(const Adopted& adopted, Socket*& out);
    // Makes a socket for a descriptor that stays the caller's. The socket takes readiness waits
    // only.
    Error watch(Handle handle, Socket*& out);
    // The same for an object of the system that is no descriptor.
    Error watch_object(Handle handle, Socket*& out);
    // Starts an accept, which is done at once or later. Fails without memory for a socket and its
    // timer; the connection then stays in the listener's backlog.
    StartResult start_accept(Operation& op) noexcept;
    // Reserves memory for one more accepted socket and its timer. Returns false without memory.
    [[nodiscard]] bool room() noexcept {
        return table_.reserve() && (options_.idle_timeout == 0 || timers_.reserve(1));
    }
    // Makes the socket of an accepted connection, `unclaimed`. Without memory it closes the handle
    // and returns null.
    [[nodiscard]] Socket* accepted(const Socket& listener, Handle handle);
    // Notes that a descriptor was closed or given back to the caller.
    void closed() noexcept { --open_; }

    // Refuses every open and post from now on, because the port closes.
    void refuse_all() noexcept { closing_ = true; }
    [[nodiscard]] bool closing() const noexcept { return closing_; }
    [[nodiscard]] std::size_t open() const noexcept { return open_; }

private:
    [[nodiscard]] Socket* create(Handle handle);
    void give_back(Socket& socket) noexcept;
    template <class Describe>
    Error watch_as(Handle handle, Describe&& describe, Socket*& out);
    Error join(Socket* socket, Handle handle, bool adopted, Socket*& out);
    void set_nodelay(Socket& socket);
    [[nodiscard]] bool watch_idle(Socket& socket) noexcept;

    const PortOptions& options_;
    SocketBackend& backend_;
    Calls& calls_;
    Timers& timers_;
    Admission& admission_;
    SlotTable<Socket>& table_;
    std::size_t open_{0};  // sockets that have a descriptor
    bool closing_{false};
};

}  // namespace iocp
