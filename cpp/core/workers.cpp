#include "core/workers.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "core/operation.hpp"

namespace iocp {

namespace {

const Socket* socket_of(const Ready& ready) noexcept {
    return ready.op != nullptr ? ready.op->socket : ready.socket;
}

}  // namespace

// Whether nothing else of its socket may be in hand at the same time.
bool Workers::alone(const Ready& ready) const noexcept {
    return in_order_ || ready.what != Ready::What::completed || ready.op->subscription();
}

bool Workers::admits(const Strand& strand, const Ready& ready,
                     const Worker& worker) const noexcept {
    if (!strand.waiting.empty() || strand.promised) {
        return false;
    }
    return strand.in_hand == 0 || strand.owner == &worker ||
           (strand.owner == nullptr && !alone(ready));
}

void Workers::add(std::vector<Ready>& ready) {
    for (Ready& one : ready) {
        queue_.push_back({std::move(one), false});
    }
    ready.clear();
    pass_on();
}

// Takes the turn of the record's socket, or leaves the record to wait for it.
bool Workers::hold(Worker& worker, Item& item) {
    const Socket* socket = socket_of(item.ready);
    if (socket == nullptr) {
        return true;
    }
    Strand& strand = strands_[socket];
    if (!item.promised && !admits(strand, item.ready, worker)) {
        strand.waiting.push_back(std::move(item.ready));
        ++blocked_;
        return false;
    }
    ++strand.in_hand;
    if (alone(item.ready)) {
        strand.owner = &worker;
    }
    worker.held_.push_back(socket);
    if (item.promised) {
        strand.promised = false;
        promote(strand);
    }
    return true;
}

// The first one that waits goes back to the queue once it may be taken.
void Workers::promote(Strand& strand) {
    if (strand.waiting.empty() || strand.promised) {
        return;
    }
    Ready& first = strand.waiting.front();
    if (strand.in_hand == 0 || (strand.owner == nullptr && !alone(first))) {
        strand.promised = true;
        queue_.push_front({std::move(first), true});
        strand.waiting.pop_front();
        --blocked_;
    }
}

bool Workers::take(Worker& worker, Ready& out) {
    if (!has_room(worker)) {
        return false;
    }
    while (!queue_.empty()) {
        Item item = std::move(queue_.front());
        queue_.pop_front();
        if (!hold(worker, item)) {
            continue;
        }
        if (!std::exchange(worker.active_, true)) {
            ++active_;
            ++at_work_;
        }
        out = std::move(item.ready);
        pass_on();
        return true;
    }
    return false;
}

void Workers::let_go(Worker& worker) {
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
    pass_on();  // it may have given back what others wait for, and have taken nothing
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
    most_ = std::numeric_limits<unsigned>::max();
    in_order_ = false;
    std::vector<Worker*> away;
    for (const auto& [socket, strand] : strands_) {
        if (strand.owner != nullptr && strand.owner->away_) {
            away.push_back(strand.owner);
        }
    }
    for (Worker* worker : away) {
        let_go(*worker);
    }
    wake_all();
}

void Workers::follow() {
    led_ = false;
    ++turns_;
    if (watching_ != 0) {
        turned_.notify_all();
    }
    pass_on();
}

// As many as can do something are woken, no more: the latest that fell asleep first.
void Workers::pass_on() {
    std::size_t useful = std::min<std::size_t>(queue_.size(), most_ - std::min(most_, active_));
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
    ++watching_;
    (void)turned_.wait_for(lock, std::chrono::nanoseconds(nanoseconds),
                           [&] { return turns() != seen; });
    --watching_;
}

void Workers::drain(std::vector<Ready>& out) {
    for (Item& item : queue_) {
        out.push_back(std::move(item.ready));
    }
    queue_.clear();
    for (auto& [socket, strand] : strands_) {
        for (Ready& ready : strand.waiting) {
            out.push_back(std::move(ready));
        }
        strand.waiting.clear();
    }
    blocked_ = 0;
}

}  // namespace iocp
