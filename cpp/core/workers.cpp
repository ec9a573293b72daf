#include "core/workers.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <limits>
#include <new>
#include <utility>

#include "base/room.hpp"
#include "ops/operation.hpp"

namespace iocp {

namespace {

const Socket* socket_of(const Ready& ready) noexcept {
    return ready.op != nullptr ? ready.op->socket : ready.socket;
}

}  // namespace

// Returns whether the record must be the only one of its socket that threads handle at the same
// time.
bool Workers::alone(const Ready& ready) const noexcept {
    return in_order_ || ready.what != Ready::What::completed || ready.op->subscription();
}

bool Workers::admits(const Strand& strand, const Ready& ready,
                     const Worker& worker) const noexcept {
    if (!strand.waiting.empty() || strand.promised || strand.returned != 0) {
        return false;
    }
    return strand.in_hand == 0 || strand.owner == &worker ||
           (strand.owner == nullptr && !alone(ready));
}

void Workers::add(std::vector<Ready>& ready) {
    auto first = ready.begin();
    try {
        for (; first != ready.end(); ++first) {
            queue_.push_back(std::move(*first));
        }
    } catch (const std::bad_alloc&) {
        // Memory has run out. The remaining records are queued with those of the next turn.
    }
    ready.erase(ready.begin(), first);
    pass_on();
}

// Returns true if the worker may take the record now. Otherwise moves the record to those that wait
// in its socket's strand. Without memory it throws and leaves the record in place.
bool Workers::hold(Worker& worker, Ready& ready) {
    const Socket* socket = socket_of(ready);
    if (socket == nullptr) {
        return true;
    }
    Strand& strand = strands_[socket];
    if (!admits(strand, ready, worker)) {
        strand.waiting.push_back(std::move(ready));
        ++blocked_;
        return false;
    }
    worker.held_.push_back(socket);
    begin(worker, strand, ready);
    return true;
}

// Counts a record as in hand. Precondition: the worker's `held_` contains the record's socket.
void Workers::begin(Worker& worker, Strand& strand, const Ready& ready) noexcept {
    ++strand.in_hand;
    if (alone(ready)) {
        strand.owner = &worker;
    }
}

// If the records in hand allow it, promises the strand's first waiting record: a worker takes it
// before the records of the queue.
void Workers::promote(Strand& strand) noexcept {
    if (strand.waiting.empty() || strand.promised || strand.returned != 0) {
        return;
    }
    if (strand.in_hand == 0 || (strand.owner == nullptr && !alone(strand.waiting.front()))) {
        strand.promised = true;
        strand.below = std::exchange(promised_, &strand);
        ++promised_count_;
        --blocked_;
    }
}

// Takes a record that was put back. Its strand still counts the record as in hand.
void Workers::take_returned(Worker& worker, Ready& out) {
    Ready& ready = returned_.back();
    if (const Socket* socket = socket_of(ready)) {
        worker.held_.push_back(socket);
        Strand& strand = strands_.find(socket)->second;
        --strand.returned;
        strand.owner = alone(ready) ? &worker : nullptr;
        promote(strand);
    }
    out = std::move(ready);
    returned_.pop_back();
}

void Workers::take_promised(Worker& worker, Ready& out) {
    Strand& strand = *promised_;
    worker.held_.push_back(socket_of(strand.waiting.front()));
    promised_ = strand.below;
    --promised_count_;
    out = std::move(strand.waiting.front());
    strand.waiting.pop_front();
    begin(worker, strand, out);
    strand.promised = false;
    promote(strand);
}

bool Workers::take(Worker& worker, Ready& out) {
    if (!has_room(worker)) {
        return false;
    }
    make_room(returned_, at_work_ + 1);  // put_back() must not fail
    bool taken = true;
    if (!returned_.empty()) {
        take_returned(worker, out);
    } else if (promised_ != nullptr) {
        take_promised(worker, out);
    } else {
        taken = false;
    }
    while (!taken && !queue_.empty()) {
        taken = hold(worker, queue_.front());
        if (taken) {
            out = std::move(queue_.front());
        }
        queue_.pop_front();
    }
    if (taken) {
        if (!std::exchange(worker.active_, true)) {
            ++active_;
            ++at_work_;
        }
        pass_on();
    }
    return taken;
}

void Workers::put_back(Worker& worker, Ready&& ready) noexcept {
    assert(worker.active_ && returned_.size() < returned_.capacity());
    if (const Socket* socket = socket_of(ready)) {
        assert(worker.held_.back() == socket);
        worker.held_.pop_back();
        Strand& strand = strands_.find(socket)->second;
        ++strand.returned;
        strand.owner = nullptr;
    }
    returned_.push_back(std::move(ready));
}

void Workers::let_go(Worker& worker) noexcept {
    for (const Socket* socket : worker.held_) {
        const auto at = strands_.find(socket);
        Strand& strand = at->second;
        if (--strand.in_hand == 0) {
            strand.owner = nullptr;
        }
        promote(strand);
        if (strand.in_hand == 0 && strand.waiting.empty() && !strand.promised) {
            strands_.erase(at);
        }
    }
    worker.held_.clear();
}

void Workers::handed_out(Worker& worker) {
    if (!in_order_) {
        let_go(worker);
        pass_on();
    }
}

void Workers::go_away(Worker& worker) {
    if (worker.active_ && !std::exchange(worker.away_, true)) {
        --at_work_;
    }
    pass_on();  // records that others wait for may be free to take
}

void Workers::give_back(Worker& worker) {
    let_go(worker);
    worker.summons_ = summons_;
    if (std::exchange(worker.active_, false)) {
        --active_;
        at_work_ -= std::exchange(worker.away_, false) ? 0 : 1;
    }
}

void Workers::leave(Worker& worker) {
    give_back(worker);
    pass_on();
}

void Workers::open_up() {
    max_ = std::numeric_limits<unsigned>::max();
    in_order_ = false;
    const auto find_away = [this] {
        return std::find_if(strands_.begin(), strands_.end(), [](const auto& entry) {
            const Worker* owner = entry.second.owner;
            return owner != nullptr && owner->away_;
        });
    };
    for (auto away = find_away(); away != strands_.end(); away = find_away()) {
        let_go(*away->second.owner);
    }
    wake_all();
}

void Workers::follow() {
    led_ = false;
    ++turns_;
    if (readiness_only_ != 0) {
        turned_.notify_all();
    }
    pass_on();
}

// Wakes as many threads as have something to do, the last to fall asleep first.
void Workers::pass_on() {
    std::size_t useful = std::min<std::size_t>(waiting(), max_ - std::min(max_, active_));
    if (useful == 0 && may_lead()) {
        useful = 1;
    }
    while (coming_ < useful && top_ != nullptr) {
        wake_one();
    }
}

void Workers::wake_one() {
    if (top_ != nullptr) {
        Worker& worker = *top_;
        top_ = worker.below_;
        worker.asleep_ = false;
        ++coming_;
        worker.parker_.wake();
    }
}

void Workers::wake_all() {
    ++summons_;
    while (top_ != nullptr) {
        wake_one();
    }
}

void Workers::remove(const Worker& worker) noexcept {
    Worker** at = &top_;
    while (*at != &worker) {
        at = &(*at)->below_;
    }
    *at = worker.below_;
}

void Workers::sleep(Worker& worker, std::unique_lock<std::mutex>& lock, std::int64_t nanoseconds,
                    void* interrupt) {
    worker.parker_.rearm();
    worker.asleep_ = true;
    worker.below_ = std::exchange(top_, &worker);
    lock.unlock();
    worker.parker_.park(nanoseconds, interrupt);
    lock.lock();
    if (std::exchange(worker.asleep_, false)) {
        remove(worker);
    } else {
        --coming_;
    }
}

void Workers::watch(std::unique_lock<std::mutex>& lock, std::int64_t nanoseconds,
                    std::uint64_t seen) {
    ++readiness_only_;
    (void)turned_.wait_for(lock, std::chrono::nanoseconds(nanoseconds),
                           [&] { return turns() != seen; });
    --readiness_only_;
}

void Workers::drain(std::vector<Ready>& out) {
    out.reserve(out.size() + waiting() + blocked_);
    for (Ready& ready : returned_) {
        out.push_back(std::move(ready));
    }
    returned_.clear();
    for (Ready& ready : queue_) {
        out.push_back(std::move(ready));
    }
    queue_.clear();
    for (auto& [socket, strand] : strands_) {
        for (Ready& ready : strand.waiting) {
            out.push_back(std::move(ready));
        }
        strand.waiting.clear();
        strand.in_hand -= std::exchange(strand.returned, 0U);
        strand.promised = false;
    }
    promised_ = nullptr;
    promised_count_ = 0;
    blocked_ = 0;
}

}  // namespace iocp
