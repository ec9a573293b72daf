// Turn: makes the turns of a port, and applies the effects that each step has left (effects.hpp).
#include "core/turn.hpp"

#include <algorithm>
#include <cassert>
#include <new>

namespace iocp {

namespace {

// Unlocks a lock until the scope ends.
class Unlocked {
public:
    explicit Unlocked(std::unique_lock<std::mutex>& lock) : lock_(lock) { lock_.unlock(); }
    ~Unlocked() { lock_.lock(); }
    Unlocked(const Unlocked&) = delete;
    Unlocked& operator=(const Unlocked&) = delete;

private:
    std::unique_lock<std::mutex>& lock_;
};

constexpr Error out_of_memory =
    Error::of(Fault::resource,
              "no memory to hand out the ready completions; none is lost: free some memory, and "
              "run the port again");

}  // namespace

// --- effects ------------------------------------------------------------------------------------

// If `sleeping_` is true, another thread sleeps in the backend, because the sleeper itself does not
// hold the lock.
void Turn::conclude(bool changed) noexcept {
    changed = changed || !parts_.work.empty();
    work_off();
    if (changed && sleeping_) {
        sleeping_ = false;
        backend_.wake();
    }
}

void Turn::work_off() noexcept {
    while (!parts_.work.empty()) {
        Socket& socket = parts_.work.first();
        while (const Effects effect = Worklist::take_effect(socket)) {
            try {
                apply(socket, effect);
            } catch (const std::bad_alloc&) {
                parts_.work.add(socket, effect);
                parts_.work.remind();
                return;
            }
        }
        parts_.work.drop_first();
    }
}

void Turn::apply(Socket& socket, Effects effect) {
    switch (effect) {
        case effect::fail:
            parts_.lifecycle.fail(socket);
            break;
        case effect::fail_sending:
            parts_.lifecycle.fail_sending(socket);
            break;
        case effect::start_receiving:
            if (socket.live()) {
                start_receiving(socket);
            }
            break;
        case effect::start_sending:
            if (socket.live()) {
                parts_.queue.start(socket, socket.sending);
            }
            break;
        case effect::sends_moved:
            parts_.lifecycle.after_sends(socket);
            parts_.flow.notify(socket);
            break;
        case effect::settle:
            parts_.lifecycle.settle(socket);
            break;
        case effect::hand_out:
            parts_.lifecycle.hand_out(socket);
            break;
        default:
            assert(effect == effect::free_address);
            free_address(socket);
            break;
    }
}

void Turn::start_receiving(Socket& socket) {
    parts_.queue.start(socket, socket.receiving);
    Operation* op = socket.receiving.head;
    if (!IoQueue::startable(socket.receiving) || !op->subscription()) {
        return;
    }
    if (op->kind == OperationKind::accept_each) {
        parts_.accepting.start(socket, *op);
    } else {
        parts_.subscriptions.start(socket, *op);
    }
}

// Ends a closing socket before close() returns, if the calling thread can end its requests. If it
// cannot, Socket::state stays `cancelling`. After the end the address of a listener or datagram
// socket is free, and a borrowed descriptor belongs to the caller again. A closing port ends all
// its sockets in one turn instead. Otherwise the end of a listener, handed out first, would drop
// accepted sockets that only the listener's callback holds, and they would warn that they were not
// closed.
void Turn::free_address(Socket& socket) {
    if (!parts_.lifecycle.wants_address(socket) || restarts_) {
        return;  // no packet may come before the requests of an ended thread are started again
    }
    try {
        backend_.take_cancelled(packets_);
    } catch (const std::bad_alloc&) {
        parts_.work.remind();  // the other packets come with the next turn
    }
    while (complete_one()) {
    }
    if (!completing_) {
        drop_completed();
    }
}

// --- the requests of an ended thread ------------------------------------------------------------

// Makes the calling thread the one that runs the backend. If it took over from an ended thread,
// marks the lanes whose requests are lost, even if the claim fails after that: the requests are
// gone by then.
Error Turn::claim() {
    const Error error = backend_.claim();
    if (backend_.took_over()) {
        mark_lost();
    }
    return error;
}

void Turn::lose_requests() {
    mark_lost();
    (void)restart_requests();
}

// Marks the lanes whose request the system has ended. A post that comes before the restart starts a
// request in an unmarked lane, so that request is not started twice. Marks need no memory.
void Turn::mark_lost() noexcept {
    restarts_ = true;
    parts_.socket_table.each([](Socket& socket) {
        for (Lane* lane : {&socket.sending, &socket.receiving}) {
            lane->lost = lane->started != 0 ? 1U : 0U;
        }
    });
}

// Starts the requests of an ended thread again: the system has ended the requests, but their
// operations go on. First completes the packets that some of the requests have left: each ends the
// request of its lane, or reports a release. The other requests have moved no data, so they are
// started again. Returns false without memory for the records; the next call continues from there.
bool Turn::restart_requests() {
    try {
        backend_.reap(packets_);
    } catch (const std::bad_alloc&) {
        return false;
    }
    complete_packets();
    if (!packets_.empty()) {
        return false;
    }
    bool all = true;
    parts_.socket_table.each([&](Socket& socket) {
        for (const Lane* lane : {&socket.sending, &socket.receiving}) {
            all = (lane->lost == 0 || end_lost(*lane)) && all;
        }
    });
    if (!all) {
        return false;
    }
    restarts_ = false;
    parts_.endings.releases().lose();
    work_off();
    return true;
}

// Ends the lane's lost request as if the request had been cancelled: an operation whose cancel was
// asked for ends, and any other starts again. Returns false without memory for the records.
bool Turn::end_lost(const Lane& lane) {
    if (!parts_.completions.reserve(2)) {
        return false;
    }
    Packet packet;
    packet.operation = lane.head->id;
    packet.result = backend_.cancel_code();
    complete(packet);
    work_off();
    return true;
}

// --- the turn -----------------------------------------------------------------------------------

Error Turn::run(std::unique_lock<std::mutex>& lock, std::int64_t deadline) {
    assert(lock.owns_lock());
    Error error;
    if (!begin(error)) {
        return error;
    }
    const std::int64_t timeout = wait_time(deadline);
    sleeping_ = timeout != 0;
    publish();
    {
        const Unlocked unlocked(lock);
        backend_.wait(timeout);
    }
    sleeping_ = false;
    return end();
}

Error Turn::run_now() {
    Error error;
    if (!begin(error)) {
        return error;
    }
    publish();
    backend_.wait(0);
    return end();
}

// Makes the steps before the wait. Returns false if there must be no wait: `error` says why.
bool Turn::begin(Error& error) {
    error = claim();
    if (error) {
        if (!backend_.holds_requests()) {
            parts_.registered.free_unwanted();  // the next claim need not register this memory
        }
        return false;
    }
    assert(!sleeping_);  // one thread at a time makes a turn
    if (restarts_ && !restart_requests()) {
        // No packet of the new ring may come before the restart is complete. Handing out the ready
        // records may free the memory that was lacking.
        error = parts_.completions.records().empty() ? out_of_memory : Error{};
        return false;
    }
    if (parts_.work.take_reminder()) {
        remind();
    }
    parts_.timers.begin_turn();
    fire_timers();
    if (parts_.admission.feeds()) {
        parts_.admission.feed_starved();
        work_off();
    }
    parts_.registered.free_unwanted();
    admit_held();
    flush_sends();  // before new reads: the data of the callbacks' sends is still in the cache
    parts_.subscriptions.begin_turn();
    go_on_with_subscriptions();
    return true;
}

// Prepares the wait. A wake from here on ends it.
void Turn::publish() {
    woken_ = false;
    backend_.publish();
    ++parts_.metrics.counts.waits;
}

// Makes the steps behind the wait.
Error Turn::end() {
    parts_.timers.begin_turn();
    reap();
    fire_timers();
    if (backend_.nothing_due()) {
        return Error::of(
            Fault::nothing_due,
            "nothing is due in the model: no segment is on its way, no timer is armed, "
            "so this wait would never end; post something, or wait with a timeout");
    }
    const bool lacking = !parts_.completions.settle_owed() || !packets_.empty();
    if (lacking && parts_.completions.records().empty()) {
        return out_of_memory;
    }
    return {};
}

// Returns how long the turn may wait, in nanoseconds. Negative means for ever.
std::int64_t Turn::wait_time(std::int64_t deadline) const noexcept {
    if (!parts_.completions.empty() || !packets_.empty() || parts_.standing.any() || woken_ ||
        parts_.work.reminded() || parts_.completions.any_muted()) {
        return 0;
    }
    const std::int64_t until = parts_.timers.next(deadline);
    return until < 0 ? -1 : std::max<std::int64_t>(until - parts_.timers.now(), 0);
}

void Turn::fire_timers() {
    if (parts_.timers.empty()) {
        return;
    }
    const std::int64_t time = parts_.timers.now();
    while (Timer* timer = parts_.timers.due(time)) {
        if (timer->kind != TimerKind::call) {
            fire(*timer);
            work_off();
            continue;
        }
        if (!parts_.completions.reserve(1)) {
            parts_.work.remind();  // the timer fires in the next turn
            return;
        }
        Ready ready;
        ready.what = Ready::What::timer;
        ready.timer = &parts_.timers.take_call(*timer);
        parts_.completions.push(std::move(ready));
    }
}

// Handles a timer of the core that is due. Each handler disarms the timer first.
void Turn::fire(const Timer& timer) {
    assert(timer.kind != TimerKind::call);
    void* const target = timer.target;
    switch (timer.kind) {
        case TimerKind::operation_deadline: {
            auto& op = *static_cast<Operation*>(target);
            parts_.timers.disarm(op.deadline);
            op.timed_out = true;
            parts_.cancels.cancel(op);
            break;
        }
        case TimerKind::subscription_retry: {
            auto& op = *static_cast<Operation*>(target);
            parts_.timers.disarm(op.deadline);
            parts_.queue.resume(op);
            break;
        }
        case TimerKind::queue_retry: {
            auto& op = *static_cast<Operation*>(target);
            parts_.timers.disarm(op.socket->timer);
            parts_.queue.resume(op);
            break;
        }
        case TimerKind::close_deadline:
            parts_.lifecycle.check_drain(*static_cast<Socket*>(target));
            break;
        case TimerKind::idle_connection:
            parts_.lifecycle.check_idle(*static_cast<Socket*>(target));
            break;
        case TimerKind::patience: {
            const std::int64_t due = parts_.admission.lose_patience();
            work_off();
            admit_held();
            parts_.admission.reclaim_late(due);
            break;
        }
        case TimerKind::starved:
            parts_.admission.feed_starved();
            break;
        case TimerKind::cooling:
            parts_.subscriptions.cool_down();
            break;
        case TimerKind::call:
            break;
    }
}

// Admits one operation at a time, because each may end at once and make room for the next.
void Turn::admit_held() {
    while (Operation* op = parts_.admission.admit_next()) {
        parts_.work.add(*op->socket, effect::start(*op->socket, op->socket->lane_of(*op)));
        work_off();
    }
}

void Turn::flush_sends() {
    while (parts_.flow.any_to_flush()) {
        parts_.work.add(parts_.flow.next_to_flush(), effect::start_sending);
        work_off();
    }
}

// Continues the subscriptions that had more to read than one turn allows, each once, while the turn
// has room. The rest keep their places in the list.
void Turn::go_on_with_subscriptions() {
    const Socket* last = parts_.standing.last();
    bool more = last != nullptr;
    while (more && parts_.standing.any() && parts_.subscriptions.turn_has_room()) {
        Socket& socket = parts_.standing.take();
        more = &socket != last;
        Operation* op = socket.receiving.head;
        if (op == nullptr || !op->subscription() || socket.receiving.started != 0 ||
            socket.reading_paused) {
            continue;
        }
        if (op->kind == OperationKind::accept_each) {
            parts_.accepting.start(socket, *op);
        } else {
            parts_.subscriptions.go_on(socket, *op);
        }
        parts_.work.add(socket, effect::settle);
        work_off();
    }
}

// Packets for which there is no memory stay with the backend until the next turn.
void Turn::reap() {
    try {
        backend_.reap(packets_);
    } catch (const std::bad_alloc&) {
        parts_.work.remind();
    }
    complete_packets();
}

// Completes packets while there is memory for their records; the others stay in `packets_`. A
// packet needs at most two records: a truncated datagram yields an error and its data.
void Turn::complete_packets() {
    completing_ = true;
    while (complete_one()) {
        work_off();
    }
    completing_ = false;
    drop_completed();
}

bool Turn::complete_one() {
    if (completed_ == packets_.size() || !parts_.completions.reserve(2)) {
        return false;
    }
    complete(packets_[completed_++]);
    return true;
}

void Turn::drop_completed() noexcept {
    packets_.erase(packets_.begin(), packets_.begin() + static_cast<std::ptrdiff_t>(completed_));
    completed_ = 0;
}

// Completes one packet. Drops a late packet: its operation has ended, or the lane has no request
// that it could belong to.
void Turn::complete(Packet& packet) {
    ++parts_.metrics.counts.packets;
    Operation* op = parts_.operations.find(packet.operation);
    if (op == nullptr || op->finished() || op->socket == nullptr) {
        drop_late(packet);
        return;
    }
    if (packet.phase == Phase::released) {
        parts_.endings.releases().released(*op);
        return;
    }
    Socket& socket = *op->socket;
    Lane& lane = socket.lane_of(*op);
    if (lane.head != op || lane.started == 0) {
        drop_late(packet);
        return;
    }
    if (!op->subscription()) {
        parts_.queue.complete(*op, packet);
    } else {
        if (!packet.more) {
            lane.end_request();
        }
        if (op->kind == OperationKind::accept_each) {
            parts_.accepting.complete(socket, *op, packet);
        } else {
            parts_.subscriptions.complete(socket, *op, packet);
        }
    }
    Effects effects = effect::of_ended_request(socket);
    if (IoQueue::startable(lane)) {
        effects |= effect::start(socket, lane);
    } else if (&lane == &socket.sending) {
        effects |= effect::of_moved_sends(socket);
    }
    parts_.work.add(socket, effects);
}

void Turn::drop_late(const Packet& packet) {
    ++parts_.metrics.counts.late;
    if (packet.accepted != no_handle) {
        parts_.calls.close_unused(packet.accepted);
    }
}

// Retries the calls and records for which there was no memory.
void Turn::remind() {
    parts_.cancels.ask_again();
    parts_.socket_table.each([this](Socket& socket) {
        parts_.flow.notify(socket);
        if (socket.keeps_open) {
            parts_.work.add(socket, effect::settle);
        }
        if (!socket.resuming) {
            parts_.completions.resume_later(socket);
        }
    });
    work_off();
}

}  // namespace iocp
