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

// One thread that runs a shared port. A worker is active from taking a record until it asks for the
// next one.
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
    Worker* below_{nullptr};           // the next lower worker in the stack of sleepers
    std::vector<const Socket*> held_;  // the sockets whose records this worker has in hand
    bool active_{false};
    bool asleep_{false};
    bool away_{false};          // the thread is in the application, and need not ask again
    std::uint64_t summons_{0};  // Workers::summons_ when this worker last asked for a record
};

// The threads of a shared port, and the records that are ready for them (R24, R30). At most `max_`
// threads are active, that is, handle records. One more thread may lead, that is, make the port's
// turns. The rest sleep in a stack, whose top is woken first. Every member needs the port's lock,
// unless it says otherwise.
//
// A socket's records are handed out one at a time: the next one follows when the thread with the
// previous one asks again. Without `in_order`, completions of single operations may be in hand
// together, but never together with any other record of the socket.
class Workers {
public:
    Workers(unsigned maximum, bool in_order) : max_(maximum), in_order_(in_order) {}

    // Queues the records of a turn. Records for which there is no memory stay in `ready`.
    void add(std::vector<Ready>& ready);
    // Gives the worker a record. Returns false if there is none. Without memory it throws
    // std::bad_alloc and takes nothing.
    [[nodiscard]] bool take(Worker& worker, Ready& out);
    // Takes back the record that the worker took last and did not hand out. That record is the next
    // to be taken. Needs no memory. The worker must call leave() before another one takes a record.
    void put_back(Worker& worker, Ready&& ready) noexcept;
    // Returns whether take() would find a record that this worker could try to take.
    [[nodiscard]] bool offers(const Worker& worker) const noexcept {
        return waiting() != 0 && has_room(worker);
    }
    // Notes that the worker's record was handed out, so that other completions of the same socket
    // may follow. The worker stays active.
    void handed_out(Worker& worker);
    // Notes that the worker's thread returns to the application with its record. The thread may
    // never ask for another record, so the end of the port does not wait for it.
    void go_away(Worker& worker);
    // Ends the worker's activity, because it asks for the next record. The worker then has no
    // record in hand.
    void give_back(Worker& worker);
    // Ends the worker's activity, because its thread will not ask again. Other threads may then
    // have the records of its sockets.
    void leave(Worker& worker);
    // Lifts the limit of active threads, and the order of each socket's records, because the port
    // closes. A thread that is away in the application must not delay the close.
    void open_up();

    [[nodiscard]] bool led() const noexcept { return led_; }
    // Returns whether a thread may lead, that is, make a turn. False while a record can be taken,
    // or while many records wait behind others of their sockets: a turn would read still more.
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
    // Waits until turns() is no longer `seen`, or the time has passed. Drops the lock meanwhile.
    void watch(std::unique_lock<std::mutex>& lock, std::int64_t nanoseconds, std::uint64_t seen);
    void wake_one();
    void wake_all();
    // Returns whether wake_all() was called since this worker last asked for a record.
    [[nodiscard]] bool summoned(const Worker& worker) const noexcept {
        return worker.summons_ != summons_;
    }

    // Returns whether no record is ready or being handed out.
    [[nodiscard]] bool idle() const noexcept {
        return waiting() == 0 && blocked_ == 0 && at_work_ == 0;
    }
    [[nodiscard]] unsigned active() const noexcept { return active_; }
    // Moves all records to `out`, because no thread will take them any more.
    void drain(std::vector<Ready>& out);

private:
    static constexpr std::size_t max_blocked = 256;

    // The records of one socket: the number of those in hand, and those that wait behind them.
    struct Strand {
        std::deque<Ready> waiting;
        Worker* owner{nullptr};  // the worker whose record must be the only one in hand
        unsigned in_hand{0};
        unsigned returned{0};    // records counted in `in_hand` that were put back; they go first
        bool promised{false};    // its first waiting record goes before the queue
        Strand* below{nullptr};  // the next lower strand in the stack of promised ones
    };
    using Strands = std::unordered_map<const Socket*, Strand>;

    // Returns the number of records that a worker can try to take. A queued record may turn out to
    // wait behind another record of its socket.
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

    unsigned max_;  // the maximum of active threads; open_up() lifts the limit
    bool in_order_;
    // The records that were put back, which are taken before all others. There is room for one
    // record of each worker at work.
    std::vector<Ready> returned_;
    std::deque<Ready> queue_;
    Strand* promised_{nullptr};  // stack of strands; their first records go before the queue
    std::size_t promised_count_{0};
    Strands strands_;
    std::size_t blocked_{0};  // records that wait in strands
    unsigned active_{0};
    unsigned at_work_{0};  // workers that are active and not away
    unsigned coming_{0};   // workers that were woken, but have not returned from sleep()
    Worker* top_{nullptr};
    bool led_{false};
    unsigned readiness_only_{0};
    std::atomic<std::uint64_t> turns_{0};
    std::uint64_t summons_{0};  // the number of calls of wake_all()
    std::condition_variable turned_;
};

}  // namespace iocp
