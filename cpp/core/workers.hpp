#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "backend/parker.hpp"
#include "core/ready.hpp"

namespace iocp {

// One thread at a port for several threads. It is active from the record that it took until it asks
// for the next one.
class Worker {
public:
    Worker() = default;
    ~Worker() = default;
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    [[nodiscard]] bool active() const noexcept { return active_; }

private:
    friend class Workers;

    Parker parker_;
    Worker* below_{nullptr};           // in the stack of those that sleep
    std::vector<const Socket*> held_;  // whose records it has in hand
    bool active_{false};
    bool asleep_{false};
    bool away_{false};          // with the application, which may never come back
    std::uint64_t summons_{0};  // how many there were when it asked last
};

// The threads of a port for several threads, and what is ready for them (R24, R30). At most `most`
// are active. One of the others leads: it makes the port's turns; the rest sleeps in a stack, whose
// top is woken first. Everything needs the port's lock.
//
// A socket's records are handed out one after the other: the next one when the thread that has the
// last one asks again. Without `in_order` that holds for everything but completions of operations
// that yield one result: any number of those may be in hand at once, but nothing else beside them.
class Workers {
public:
    Workers(unsigned most, bool in_order) : most_(most), in_order_(in_order) {}

    // What a turn made ready; what there is no memory for stays.
    void add(std::vector<Ready>& ready);
    // Whether it was given one. Throws for want of memory, and has taken nothing then.
    [[nodiscard]] bool take(Worker& worker, Ready& out);
    // Whether take() would find something to try.
    [[nodiscard]] bool offers(const Worker& worker) const noexcept {
        return waiting() != 0 && has_room(worker);
    }
    // What was taken is handed out: what need not wait for the application goes on. The thread
    // stays active.
    void handed_out(Worker& worker);
    // It goes back to the application with what it was handed.
    void go_away(Worker& worker);
    // The worker asks for the next record: it is not active, and has nothing in hand, any more.
    void give_back(Worker& worker);
    // The same of one that will not ask again.
    void leave(Worker& worker);
    // The port is closing: nobody's absence holds anything up.
    void open_up();

    [[nodiscard]] bool led() const noexcept { return led_; }
    // Not while there is something to take, nor while much waits for its socket's turn: what is
    // read must not pile up.
    [[nodiscard]] bool may_lead() const noexcept {
        return !led_ && waiting() == 0 && blocked_ < most_blocked;
    }
    void lead() noexcept { led_ = true; }
    void follow();
    // Until it is woken, or so many nanoseconds; drops the lock.
    void sleep(Worker& worker, std::unique_lock<std::mutex>& lock, std::int64_t nanoseconds,
               void* interrupt);
    // How many turns were made. Needs no lock.
    [[nodiscard]] std::uint64_t turns() const noexcept { return turns_.load(); }
    // Until more than `seen` turns were made, or so many nanoseconds; drops the lock.
    void watch(std::unique_lock<std::mutex>& lock, std::int64_t nanoseconds, std::uint64_t seen);
    void wake_one();
    void wake_all();
    // Whether all were woken since this one asked for the next record.
    [[nodiscard]] bool summoned(const Worker& worker) const noexcept {
        return worker.summons_ != summons_;
    }

    // Nothing is ready, and nobody is at work on what was.
    [[nodiscard]] bool idle() const noexcept {
        return waiting() == 0 && blocked_ == 0 && at_work_ == 0;
    }
    [[nodiscard]] unsigned active() const noexcept { return active_; }
    // What nobody will take any more.
    void drain(std::vector<Ready>& out);

private:
    static constexpr std::size_t most_blocked = 256;

    // The records of one socket that are in hand, or wait for those.
    struct Strand {
        std::deque<Ready> waiting;
        Worker* owner{nullptr};  // who has one that nothing may be beside
        unsigned in_hand{0};
        bool promised{false};    // the first one that waits is the next to be taken
        Strand* below{nullptr};  // in the stack of those that were promised so
    };
    using Strands = std::unordered_map<const Socket*, Strand>;

    // Records that may be taken, as far as their sockets' turns allow.
    [[nodiscard]] std::size_t waiting() const noexcept { return queue_.size() + promised_count_; }
    [[nodiscard]] bool has_room(const Worker& worker) const noexcept {
        return worker.active_ || active_ < most_;
    }
    [[nodiscard]] bool alone(const Ready& ready) const noexcept;
    [[nodiscard]] bool admits(const Strand& strand, const Ready& ready,
                              const Worker& worker) const noexcept;
    [[nodiscard]] bool hold(Worker& worker, Ready& ready);
    void begin(Worker& worker, Strand& strand, const Ready& ready) noexcept;
    void promote(Strand& strand) noexcept;
    void take_promised(Worker& worker, Ready& out);
    void let_go(Worker& worker) noexcept;
    void pass_on();
    void remove(const Worker& worker) noexcept;

    unsigned most_;
    bool in_order_;
    std::deque<Ready> queue_;
    Strand* promised_{nullptr};  // the latest goes first, and all of them before the queue
    std::size_t promised_count_{0};
    Strands strands_;
    std::size_t blocked_{0};  // in strands
    unsigned active_{0};
    unsigned at_work_{0};  // active, and not away
    unsigned coming_{0};   // woken, and not here yet
    Worker* top_{nullptr};
    bool led_{false};
    unsigned watching_{0};
    std::atomic<std::uint64_t> turns_{0};
    std::uint64_t summons_{0};  // how often all were woken
    std::condition_variable turned_;
};

}  // namespace iocp
