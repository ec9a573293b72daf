#include "core/completion_queue.hpp"

#include <new>

namespace iocp {

void CompletionQueue::completed(Operation& op) noexcept {
    if (op.muted ? reports(op) : !op.notifies || !listener_->finished(op)) {
        ready_.completed(op);
        return;
    }
    op.next_finished = nullptr;
    (notified_last_ != nullptr ? notified_last_->next_finished : notified_first_) = &op;
    notified_last_ = &op;
    any_notified_.store(true, std::memory_order_relaxed);
    any_muted_ = any_muted_ || op.muted;
}

// The end of a socket that is closing says enough about its sends.
bool CompletionQueue::reports(const Operation& op) noexcept {
    Socket& socket = *op.socket;
    if (!op.error || socket.mute_broken || socket.state != SocketState::open) {
        return false;
    }
    socket.mute_broken = true;
    return true;
}

Operation* CompletionQueue::take_notified() noexcept {
    any_notified_.store(false, std::memory_order_relaxed);
    any_muted_ = false;
    notified_last_ = nullptr;
    return std::exchange(notified_first_, nullptr);
}

void CompletionQueue::set_pause(Socket& socket, bool paused, bool withholding) noexcept {
    const bool before = socket.reading_paused || socket.withholding;
    socket.reading_paused = paused;
    socket.withholding = withholding;
    if (before != (paused || withholding)) {
        before ? --paused_sockets_ : ++paused_sockets_;
    }
}

void CompletionQueue::resume_later(Socket& socket) noexcept {
    socket.resuming = socket.withholding && !socket.reading_paused;
    if (!socket.resuming) {
        return;
    }
    if (!ready_.reserve(1)) {
        socket.resuming = false;
        work_.remind();
        return;
    }
    Ready ready;
    ready.what = Ready::What::resumed;
    ready.socket = &socket;
    push(std::move(ready));
}

// Keeps the record back if its socket is paused. After the first kept record of a socket all later
// ones are kept too, so that they stay in order. Without memory to keep a record the pause ends, so
// that no record is lost.
Withheld CompletionQueue::withhold(Ready& ready) noexcept {
    Socket& socket = *ready.socket;
    const bool over = ready.what == Ready::What::closed || ready.what == Ready::What::ended;
    const bool first = socket.reading_paused && !over;
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

bool CompletionQueue::take_withheld(Socket& socket, Ready& out) noexcept {
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

void CompletionQueue::forget(Socket& socket) noexcept {
    set_pause(socket, false, false);
    withheld_.erase(socket.id.slot);
}

void CompletionQueue::clear() noexcept {
    ready_.records().clear();
    withheld_.clear();
}

}  // namespace iocp
