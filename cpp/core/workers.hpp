#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/parker.hpp"
#include "core/ready.hpp"

namespace iocp {

// One thread that runs a shared port. It is active from taking a record until it asks for the next
// one.
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
    Worker* below_{nullptr};           // the next lower in the stack of sleepers
    std::vector<const Socket*> held_;  // the sockets whose records it has in hand
    bool active_{false};
    bool asleep_{false};
    bool away_{false};          // back in the application's code, and may never ask again
    std::uint64_t summons_{0};  // Workers::summons_ when it last asked
};

// The threads of a shared port, and the records that are ready for them (R24, R30). At most `max_`
// threads are active. Another thread leads: it makes the port's turns. The rest sleep in a stack,
// whose top is woken first. Everything needs the port's lock.
//
// A socket's records are handed out one at a time: the next follows when the thread with the last
// one asks again. Without `in_order` completions of single operations may be in hand together, but
// no other record may be in hand beside them.
class Workers {
public:
    Workers(unsigned maximum, bool in_order) : max_(maximum), in_order_(in_order) {}

    // Queues the records of a turn. Records without memory stay in `ready`.
    void add(std::vector<Ready>& ready);
    // Gives the worker a record and returns whether there was one. Without memory it throws
    // std::bad_alloc and takes nothing.
    [[nodiscard]] bool take(Worker& worker, Ready& out);
    // Takes the record back that the worker took last and has not handed out. It is the next to be
    // taken. Needs no memory. The worker must leave before another one takes a record.
    void put_back(Worker& worker, Ready&& ready) noexcept;
    // Returns whether take() would find a record to try.
    [[nodiscard]] bool offers(const Worker& worker) const noexcept {
        return waiting() != 0 && has_room(worker);
    }
    // Notes that the worker's record was handed out, so that other completions of its socket may
    // follow. The thread stays active.
    void handed_out(Worker& worker);
    // Notes that the thread returns to the application with its record. It may never ask for
    // another, so the end of the port does not wait for it.
    void go_away(Worker& worker);
    // Ends the worker's activity: it asks for the next record and has nothing in hand.
    void give_back(Worker& worker);
    // Ends the worker's activity for a thread that will not ask again. Other threads may then have
    // its sockets' records.
    void leave(Worker& worker);
    // Lifts the limit and the order while the port closes: an absent thread must not delay the
    // close.
    void open_up();

    [[nodiscard]] bool led() const noexcept { return led_; }
    // Returns whether a thread may lead. False while a record can be taken, or many wait behind
    // other records of their sockets, because new reads would pile up.
    [[nodiscard]] bool may_lead() const noexcept {
        return !led_ && waiting() == 0 && blocked_ < max_blocked;
    }
    void lead() noexcept { led_ = true; }
    void follow();
    // Sleeps until a wake, an interrupt, or the time has passed. Drops the lock meanwhile.
    void sleep(Worker& worker, std::unique_lock<std::mutex>& lock, std::int64_t nanoseconds,
               void* interrupt);
    // Returns the number of turns made. Needs no lock.
    [[nodiscard]] std::uint64_t turns() const noexcept { return turns_.load(); }
    // Waits until more than `seen` turns were made, or the time has passed. Drops the lock
    // meanwhile.
    void watch(std::unique_lock<std::mutex>& lock, std::int64_t nanoseconds, std::uint64_t seen);
    void wake_one();
    void wake_all();
    // Returns whether all were woken since this worker asked for the next record.
    [[nodiscard]] bool summoned(const Worker& worker) const noexcept {
        return worker.summons_ != summons_;
    }

    // Returns whether no record is ready or being handed out.
    [[nodiscard]] bool idle() const noexcept {
        return waiting() == 0 && blocked_ == 0 && at_work_ == 0;
    }
    [[nodiscard]] unsigned active() const noexcept { return active_; }
    // Moves out the records that no thread will take any more.
    void drain(std::vector<Ready>& out);

private:
    static constexpr std::size_t max_blocked = 256;

    // The records of one socket: those in hand, and those that wait behind them.
    struct Strand {
        std::deque<Ready> waiting;
        Worker* owner{nullptr};  // holds a record that must be the only one in hand
        unsigned in_hand{0};
        unsigned returned{0};    // of those in hand: put back, so that no other may overtake them
        bool promised{false};    // its first waiting record is the next to be taken
        Strand* below{nullptr};  // the next lower in the stack of promised strands
    };
    using Strands = std::unordered_map<const Socket*, Strand>;

    // Returns the number of records that a worker can try to take. A record of the queue may turn
    // out to wait behind another of its socket.
    [[nodiscard]] std::size_t waiting() const noexcept {
        return returned_.size() + promised_count_ + queue_.size();
    }
    [[nodiscard]] bool has_room(const Worker& worker) const noexcept {
        return worker.active_ || active_ < max_;
    }
    [[nodiscard]] bool alone(const Ready& ready) const noexcept;
    [[nodiscard]] bool admits(const Strand& strand, const Ready& ready,
                              const Worker& worker) const noexcept;
    [[nodiscard]] bool hold(Worker& worker, Ready& ready);
    void begin(Worker& worker, Strand& strand, const Ready& ready) noexcept;
    void promote(Strand& strand) noexcept;
    void take_returned(Worker& worker, Ready& out);
    void take_promised(Worker& worker, Ready& out);
    void let_go(Worker& worker) noexcept;
    void pass_on();
    void remove(const Worker& worker) noexcept;

    unsigned max_;  // the maximum of active threads; open_up() lifts it
    bool in_order_;
    // The records that were put back; taken before all others. It has room for one of each worker
    // at work.
    std::vector<Ready> returned_;
    std::deque<Ready> queue_;
    Strand* promised_{nullptr};  // the top is promised last and taken first, before the queue
    std::size_t promised_count_{0};
    Strands strands_;
    std::size_t blocked_{0};  // records that wait in strands
    unsigned active_{0};
    unsigned at_work_{0};  // active and not away
    unsigned coming_{0};   // woken and not back yet
    Worker* top_{nullptr};
    bool led_{false};
    unsigned readiness_only_{0};
    std::atomic<std::uint64_t> turns_{0};
    std::uint64_t summons_{0};  // the number of calls of wake_all()
    std::condition_variable turned_;
};

}  // namespace iocp
