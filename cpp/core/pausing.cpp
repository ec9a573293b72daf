// Port: readers that pause (R37). A paused subscription has nothing in the kernel, and no memory;
// what the core had taken by then is kept, and is handed out first when it goes on.
#include <new>

#include "core/port.hpp"

namespace iocp {

bool Port::pause_reading(Socket& socket) {
    if (socket.reading_paused || closing_) {
        return false;
    }
    set_pause(socket, true, socket.withholding);
    const Lane& lane = socket.receiving;
    if (socket.life == Life::open && lane.started != 0 && lane.head->subscription()) {
        ask_cancel(*lane.head);
    }
    nudge();
    return true;
}

bool Port::resume_reading(Socket& socket) {
    if (!socket.reading_paused) {
        return false;
    }
    end_pause(socket);
    if (socket.life == Life::open) {
        socket.active_ms = milliseconds();  // the peer could not make progress before
        start_lane(socket, socket.receiving);
    }
    settle(socket);
    nudge();
    return true;
}

void Port::end_pause(Socket& socket) {
    set_pause(socket, false, socket.withholding);
    if (!socket.resuming) {
        resume_later(socket);
    }
}

void Port::set_pause(Socket& socket, bool paused, bool withholding) noexcept {
    const bool before = socket.reading_paused || socket.withholding;
    socket.reading_paused = paused;
    socket.withholding = withholding;
    if (before != (paused || withholding)) {
        before ? --paused_sockets_ : ++paused_sockets_;
    }
}

void Port::resume_later(Socket& socket) {
    socket.resuming = socket.withholding && !socket.reading_paused;
    if (socket.resuming && !ready_.reserve(1)) {
        socket.resuming = false;
        reminded_ = true;  // the next turn queues it
    } else if (socket.resuming) {
        Ready ready;
        ready.what = Ready::What::resumed;
        ready.socket = &socket;
        push(std::move(ready));
        nudge();
    }
}

// Records stay in order: once one of a socket is kept, all that follow are. Without memory to keep
// one nothing is lost either: the pause ends.
Port::Withheld Port::withhold(Ready& ready) noexcept {
    Socket& socket = *ready.socket;
    const bool first = socket.reading_paused && ready.what != Ready::What::closed;
    if (!first && !socket.withholding) {
        return Withheld::no;
    }
    try {
        std::deque<Ready>& kept = withheld_[socket.id.slot];
        kept.emplace_back();
        kept.back() = std::move(ready);
    } catch (const std::bad_alloc&) {
        set_pause(socket, false, socket.withholding);
        return socket.withholding ? Withheld::behind : Withheld::no;
    }
    set_pause(socket, socket.reading_paused, true);
    return Withheld::yes;
}

bool Port::take_withheld(Socket& socket, Ready& out) {
    if (socket.reading_paused || !socket.withholding) {
        socket.resuming = false;
        return false;
    }
    const auto found = withheld_.find(socket.id.slot);
    out = std::move(found->second.front());
    found->second.pop_front();
    if (found->second.empty()) {
        withheld_.erase(found);
        set_pause(socket, false, false);
    }
    return true;
}

}  // namespace iocp
