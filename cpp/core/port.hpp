#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "core/buffer.hpp"
#include "core/counts.hpp"
#include "core/error.hpp"
#include "core/figures.hpp"
#include "core/latencies.hpp"
#include "core/ledger.hpp"
#include "core/operation.hpp"
#include "core/ready_queue.hpp"
#include "core/slot_table.hpp"
#include "core/socket.hpp"
#include "core/tally.hpp"
#include "core/timer.hpp"
#include "core/trace.hpp"
#include "core/workers.hpp"

namespace iocp {

// When an adaptive subscription changes the way it receives (R13).
struct AdaptiveRule {
    std::uint32_t messages{4};         // so many in a row,
    std::int64_t window{100'000'000};  // each within so many nanoseconds of the last: busy
    std::int64_t idle{1'000'000'000};  // nothing for so long: no longer
    std::uint32_t budget_percent{75};  // of the budget in use: nobody posts a buffer
    std::optional<Receive> busy;       // how busy ones receive; without: the backend's best
};

// What a post over the budget or a cap comes to (R07).
enum class OverBudget : std::uint8_t { raise, queue, degrade };

struct PortOptions {
    std::size_t budget_bytes{0};     // locked bytes; 0: no limit
    std::uint32_t port_receives{0};  // unfinished receives; 0: no limit
    std::uint32_t port_sends{0};
    std::uint32_t socket_receives{0};
    std::uint32_t socket_sends{0};
    OverBudget over_budget{OverBudget::raise};
    std::size_t region_size{std::size_t{256} << 10U};
    std::size_t region_limit{256};  // regions held by readers before messages become copies
    BackendOptions backend;
    std::uint32_t drain_reads{8};  // per socket and turn
    std::size_t drain_bytes{std::size_t{256} << 10U};
    std::int64_t close_timeout{5'000'000'000};   // nanoseconds that queued sends get at close
    bool skip_done{false};                       // what sockets start with
    bool nodelay{false};                         // TCP sockets start without Nagle's algorithm
    std::int64_t queue_patience{1'000'000'000};  // in the budget queue, nanoseconds
    SendMarks marks;                             // what sockets start with
    std::uint32_t max_connections{0};            // open and accepted by subscriptions
    std::int64_t idle_timeout{0};                // of accepted connections, nanoseconds; 0: none
    AdaptiveRule adaptive;
    bool latency{false};      // keep how long operations take
    unsigned concurrency{0};  // threads that may have something in hand; 0: one thread runs it
    bool in_order{false};     // each socket's completions one after the other
};

// There was no memory for a connection that arrived.
inline constexpr Error no_socket = Error::of(Fault::resource, "no memory for a socket");

// Who hears at once of the end of an operation that is `told`.
class Audience {
public:
    Audience() = default;
    virtual ~Audience() = default;
    Audience(const Audience&) = delete;
    Audience& operator=(const Audience&) = delete;

    // With the port's lock held, in any thread. True: the operation goes aside, not to the queue.
    virtual bool finished(Operation& op) noexcept = 0;
};

// The completion port: takes posts, charges them, starts them, waits, and hands out completions.
// Every member but poll(), collect() and mutex() needs the lock held by the caller. The lock is
// dropped only around the wait, and no member ever calls into the application.
class Port {
public:
    Port(const PortOptions& options, BufferPool& pool, std::unique_ptr<Backend> backend);
    ~Port();
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;

    [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }
    [[nodiscard]] Backend& backend() noexcept { return *backend_; }
    [[nodiscard]] const Capabilities& capabilities() const noexcept { return capabilities_; }
    [[nodiscard]] const PortOptions& options() const noexcept { return options_; }

    // Sockets.
    Error open(int family, int type, int protocol, Socket*& out);
    // `nonblocking` is how the handle was made, for platforms that do not tell.
    Error adopt(Handle handle, Socket*& out, bool nonblocking = false);
    // Queued sends go out within `timeout` nanoseconds (negative: the port's default), then the
    // socket is cancelled, reaped and closed.
    void close(Socket& socket, std::int64_t timeout);
    void abort(Socket& socket);
    // Ends the socket as a fatal error of the system would.
    void end_with(Socket& socket, Error error);
    // After collect() has seen idle(socket): the descriptor is the caller's.
    void detach(Socket& socket);
    [[nodiscard]] static bool idle(const Socket& socket) noexcept {
        return socket.receiving.idle() && socket.sending.idle();
    }
    Error shutdown(Socket& socket, bool receiving, bool sending);
    Error set_send_strategy(Socket& socket, Send strategy);
    void set_marks(Socket& socket, SendMarks marks);
    // Of the standing receive_each; without a value adaptive.
    Error set_receive_strategy(Socket& socket, std::optional<Receive> strategy);

    // Readers that pause (pausing.cpp). From pause_reading() to resume_reading() nothing of the
    // socket's subscription starts, and what was under way is kept. Each returns whether it changed
    // something.
    bool pause_reading(Socket& socket);
    bool resume_reading(Socket& socket);
    // Whether a record has to be shown to withhold() before it is handed out. Needs no lock.
    [[nodiscard]] bool may_withhold(const Ready& ready) const noexcept {
        return paused_sockets_.load(std::memory_order_relaxed) != 0 && ready.of_subscription();
    }
    // Whether the port keeps the record, because its socket is paused or keeps earlier ones; where
    // it has no memory to, what it keeps of the socket is to be handed out first.
    enum class Withheld : std::uint8_t { no, yes, behind };
    [[nodiscard]] Withheld withhold(Ready& ready) noexcept;
    // For who hands out `resumed`: the first record that was kept; false once there is none, or the
    // socket is paused again. Who stops before that calls resume_later().
    [[nodiscard]] bool take_withheld(Socket& socket, Ready& out);
    void resume_later(Socket& socket);

    // Page-aligned memory of at least `bytes`, zeroed, that the kernel knows from here on.
    Error register_memory(std::size_t bytes, std::byte*& out);
    void unregister(std::byte* data);

    // Operations. new_operation() takes a slot; submit() accepts the operation or, returning an
    // error, leaves it to discard(). One that is `silent` afterwards has finished, is not handed
    // out, and is the caller's to retire before the lock is dropped.
    Operation* new_operation(Socket& socket, Kind kind);
    Error submit(Operation& op, std::int64_t timeout = -1);
    void discard(Operation& op) noexcept;
    // Whether the request was taken: false when the operation has finished or was asked before.
    bool cancel(Operation& op);
    unsigned cancel_all(Socket& socket);
    Error try_receive(Socket& socket, std::byte* data, std::size_t length, std::int64_t& got);
    Error try_send(Socket& socket, const std::byte* data, std::size_t length, std::int64_t& went);

    // Called when the completion of an operation is handed out, if it is observed().
    void handed_out(const Operation& op) noexcept;
    [[nodiscard]] bool observed() const noexcept {
        return observed_.load(std::memory_order_relaxed);
    }
    // The binding has handed out a finished operation, or a closed socket, and given back its
    // lease.
    void retire(Operation& op) noexcept;
    void retire(Socket& socket) noexcept;
    // An accepted connection has been handed out: from here on its end is told. It may have come.
    void claim(Socket& accepted);
    // Nobody takes the accepted connection.
    void refuse(Socket& accepted);
    static void retire(Timer* timer) noexcept { delete timer; }

    // Who sent the datagram of a subscription.
    [[nodiscard]] static const Address& sender_of(const Slice& slice) noexcept;
    // The longest datagram that a subscription may ask for, in bytes.
    [[nodiscard]] std::size_t most_datagram() const noexcept;

    // Timers and packets.
    // Null without memory.
    [[nodiscard]] Timer* call_at(std::int64_t when, void* user);
    // True: the timer is gone. False: it has fired, and is handed out with no target.
    bool cancel_call(Timer* timer) noexcept;
    Error post(void* user);
    void wake() noexcept;
    // Whether wake() was called since it was last asked.
    bool take_woken() noexcept { return std::exchange(was_woken_, false); }

    // Operations that are told need one.
    void set_audience(Audience& audience) noexcept { audience_ = &audience; }
    [[nodiscard]] bool any_aside() const noexcept {
        return any_aside_.load(std::memory_order_relaxed);
    }
    // Finished operations that went aside: settled and retired by whoever takes them, in any
    // thread. Taken before what the same turn made ready is handed out; from then on their sockets
    // may be retired.
    // The first of a list by `next_finished`.
    [[nodiscard]] Operation* take_aside() noexcept;
    void retire_aside(Operation& op) noexcept;

    // For several threads. What a worker is to do:
    enum class Next : std::uint8_t {
        record,   // hand out what it was given
        woken,    // wake() was called
        nothing,  // wait_for_next()
        over,     // the port is to be ended: by this thread alone
        ended,    // another one did
    };
    [[nodiscard]] bool shared() const noexcept { return workers_.has_value(); }
    [[nodiscard]] Workers& workers() noexcept { return *workers_; }
    // Gives back what the worker had, and takes what is next.
    [[nodiscard]] Next next(Worker& worker, Ready& out);
    // Waits once, at most until `deadline` (negative: for ever) or for `most` nanoseconds: leads a
    // turn, or sleeps until it is needed. Takes and drops the lock itself.
    Error wait_for_next(Worker& worker, std::int64_t deadline, std::int64_t most, void* interrupt);
    // The time so many nanoseconds from now.
    [[nodiscard]] std::int64_t after(std::int64_t nanoseconds) const noexcept {
        const std::int64_t base = backend_ == nullptr ? 0 : now();
        return nanoseconds < INT64_MAX - base ? base + nanoseconds : INT64_MAX;
    }
    // Whether the deadline has passed, or the port was ended.
    [[nodiscard]] bool late(std::int64_t deadline) const noexcept {
        return backend_ == nullptr || (deadline >= 0 && now() >= deadline);
    }
    // Every thread in wait_for_next() comes back.
    void wake_workers() noexcept;

    // One turn: starts what waits to be started, waits until `deadline` (negative: for ever) if
    // nothing is ready, and moves what became ready to `out`. Takes and drops the lock itself.
    Error poll(std::int64_t deadline, std::vector<Ready>& out);
    // Like poll(), but what becomes ready stays for the next poll(), or for the workers: for
    // waiting inside a call. Where another thread leads it waits for the end of a turn of that
    // one's, after the `seen` that turns() told when what is waited for was looked at.
    Error collect(std::int64_t deadline, std::uint64_t seen = 0);
    [[nodiscard]] std::uint64_t turns() const noexcept { return shared() ? workers_->turns() : 0; }

    // Refuses every further post and closes every socket.
    void begin_close(std::int64_t timeout);
    // Cancels everything and takes the last packet of all that the kernel holds. False: something
    // is still held (another thread's ring), and its memory must not be freed.
    [[nodiscard]] bool terminate();
    void take_ready(std::vector<Ready>& out);
    // Precondition: no socket is open. Nothing but reading figures is allowed afterwards.
    void release_backend() noexcept;

    [[nodiscard]] bool closing() const noexcept { return closing_; }
    // begin_close() has run its course: nothing is open, outstanding, or to be handed out.
    [[nodiscard]] bool finished() const noexcept {
        return closing_ && open_sockets_ == 0 && outstanding_ == 0 && ready_.empty() &&
               (!shared() || workers_->idle());
    }
    [[nodiscard]] std::size_t outstanding() const noexcept { return outstanding_; }
    [[nodiscard]] std::size_t open_sockets() const noexcept { return open_sockets_; }
    [[nodiscard]] bool quiet() const noexcept;
    [[nodiscard]] std::int64_t now() const noexcept { return backend_->now(); }
    [[nodiscard]] LedgerView ledger_view();
    // Fills `out`; every open socket is listed unless `most_sockets` is 0.
    Error figures(std::size_t most_sockets, Figures& out);
    // Makes the given trace, or none, the one that events go to, and hands over the one before.
    [[nodiscard]] std::unique_ptr<Trace> exchange_trace(std::unique_ptr<Trace> trace) noexcept;
    [[nodiscard]] bool tracing() const noexcept { return trace_ != nullptr; }
    [[nodiscard]] const PortCounts& counts() const noexcept { return counts_; }
    [[nodiscard]] SlotTable<Operation>& operations() noexcept { return operations_; }
    [[nodiscard]] SlotTable<Socket>& sockets() noexcept { return sockets_; }
    [[nodiscard]] std::size_t queued_bytes(const Socket& socket) const noexcept;
    [[nodiscard]] Error system_error(int code) const noexcept;

private:
    static constexpr Error send_was_cut =
        Error::of(Fault::socket_closed,
                  "an earlier send was cut part-way, so the stream's framing is gone; close the "
                  "socket");

    // The one place where the state of an operation is written.
    void set_state(Operation& op, State state) noexcept {
        const State before = op.state.load(std::memory_order_relaxed);
        if (state == before) {
            return;
        }
        tally_.move(op.kind, before, state, op.receipt.pages());
        // Whoever reads the state without the lock may then read the result.
        op.state.store(state, std::memory_order_release);
        note(op, stage_of(state));
    }
    void request_cancel(Lane& lane, Operation& op) noexcept {
        lane.note_cancel(op);
        set_state(op, State::cancelling);
    }

    // Figures (figures.cpp).
    void note(const Operation& op, Stage stage) noexcept {
        if (trace_ != nullptr) [[unlikely]] {
            record(op, stage, op.transferred);
        }
    }
    void record(const Operation& op, Stage stage, std::uint64_t bytes) noexcept;
    [[nodiscard]] SocketFigures figures_of(const Socket& socket) const noexcept;

    // A post that the budget queue holds, and the time since when.
    struct Held {
        SlotId id;
        std::int64_t since;
    };

    // Admission (admission.cpp).
    [[nodiscard]] std::size_t pages_of(const Operation& op) const noexcept;
    [[nodiscard]] bool capped(const Operation& op) const noexcept;
    [[nodiscard]] bool caps_sockets() const noexcept {
        return (options_.socket_receives | options_.socket_sends) != 0;
    }
    [[nodiscard]] bool admissible(const Operation& op, std::size_t pages) const noexcept;
    void admit(Operation& op, std::size_t pages) noexcept;
    void leave(Operation& op) noexcept;  // the counterpart of admit()
    void refund(Operation& op) noexcept;
    Error charge(Operation& op);
    Error hold(Operation& op);
    void admit_held();
    void ease_queue();
    void reclaim(std::size_t pages);
    void yield(Operation& op) noexcept;
    [[nodiscard]] bool waits_for_resources(int code) const noexcept;
    [[nodiscard]] bool starve(Operation& op);
    void feed_starved();

    // Registered memory (registration.cpp).
    struct Registered {
        std::byte* data;
        std::size_t length;
        bool unwanted;  // to be taken back by who runs the port
    };
    void free_registered();
    [[nodiscard]] bool inside_registered(const std::byte* data, std::size_t length) const noexcept;

    // Submission (submission.cpp).
    Error check(const Operation& op) const noexcept;
    [[nodiscard]] bool attempts_first(const Operation& op, const Lane& lane) const noexcept;
    Error attempt(Operation& op, bool& done);
    Error refused(const Operation& op, int code);
    [[nodiscard]] Error end_met(Operation& op);
    Error prepare_send(Operation& op);
    Error prepare_file(Operation& op);
    StartResult start(Operation& op, unsigned count);
    void accept(Operation& op, Outcome outcome, std::int64_t timeout) noexcept;
    void start_lane(Socket& socket, Lane& lane);
    [[nodiscard]] static unsigned run_length(const Lane& lane) noexcept;
    void flush_sends();
    void ask_later(Socket& socket, Lane& lane);

    // Nagle's algorithm (nagle.cpp).
    void set_nodelay(Socket& socket);
    void note_send(Socket& socket, const Operation& op, std::size_t bytes);
    void note_wait(Socket& socket);

    // Connections that end before their socket (disconnect.cpp).
    Error check_connection(const Operation& op) const noexcept;
    static void disconnected(const Operation& op) noexcept;
    void drop_disconnect(Socket& socket);

    // Connects that end without a connection (connecting.cpp).
    void end_connect(Lane& lane, Operation& op, Error error, bool answered);

    // Completion (completion.cpp).
    void complete(Packet& packet);
    void drop_late(const Packet& packet);
    [[nodiscard]] static bool goes_on(const Operation& op, std::size_t got) noexcept;
    void progress(Socket& socket, Lane& lane, const StartResult& result);
    void progress_send(Socket& socket, Lane& lane, std::size_t bytes);
    void fail(Socket& socket, Lane& lane, int code);
    void finish(Operation& op, Error error) noexcept;
    void end(Operation& op) noexcept;
    void finish_cancelled(Lane& lane);
    void refuse_rest(Lane& lane, Error error);
    [[nodiscard]] static bool fails(const Operation& op) noexcept;
    [[nodiscard]] static Error cancel_error(const Operation& op) noexcept;
    // Null without memory.
    [[nodiscard]] Timer* arm(std::int64_t delay, TimerKind kind, void* target) noexcept;
    void disarm(Timer*& timer) noexcept;
    void fire_timers();
    void fire(const Timer& timer);

    // Sending (sending.cpp).
    void tell_flow(Socket& socket);
    void released(Operation& op);
    void lose_releases();
    // The port's time, modulo 2^32.
    [[nodiscard]] std::uint32_t milliseconds() const noexcept {
        return static_cast<std::uint32_t>(turn_time_ / 1'000'000);
    }
    void moved_bytes(Socket& socket) noexcept;
    [[nodiscard]] bool watch_idle(Socket& socket) noexcept;
    void check_idle(Socket& socket);

    // Subscriptions (subscription.cpp).
    void start_subscription(Socket& socket, Operation& op);
    void start_accept_each(Socket& socket, Operation& op);
    void start_receive_each(Socket& socket, Operation& op);
    void start_again(Socket& socket, Operation& op);
    Error lease_block(Operation& op);
    void subscription_packet(Socket& socket, Operation& op, Packet& packet);
    void deliver(Socket& socket, Operation& op, Slice slice);
    void end_of_stream(Socket& socket, Operation& op);
    void direct_data(Socket& socket, Operation& op, std::size_t length);
    void drain(Socket& socket, Operation& op);
    void later(Socket& socket) noexcept;
    void read_later(Socket& socket, Operation& op) noexcept;
    void continue_drains();
    [[nodiscard]] bool adapt(Operation& op, std::size_t bytes, bool multishot) const noexcept;

    // Pauses (pausing.cpp).
    void end_pause(Socket& socket);
    void set_pause(Socket& socket, bool paused, bool withholding) noexcept;

    // Strategies (strategy.cpp).
    void restart_receive(Socket& socket, Operation& op, Receive strategy);
    void busier(Socket& socket, Operation& op);
    void cool_down();
    [[nodiscard]] bool tight() const noexcept;
    [[nodiscard]] bool room_for_connection() noexcept;
    StartResult try_accept(Operation& op) noexcept;
    Socket* accepted(Socket& listener, Handle handle);
    [[nodiscard]] bool at_cap(Operation& op);
    void resume_capped();
    void item_failed(Socket& socket, Operation& op, int code);
    void tell(Socket& socket, Operation& op, Error error);
    void pause(Operation& op);
    [[nodiscard]] bool reserve_space(std::size_t least) noexcept;

    // Subscriptions to datagrams (datagrams.cpp).
    void drain_datagrams(Socket& socket, Operation& op);
    [[nodiscard]] Slice datagram(std::byte* at, std::size_t length) const;

    // A socket that closes when its sends have gone.
    struct Drain {
        std::int64_t timeout;                    // nanoseconds that may pass without progress
        std::int64_t since;                      // the time of the last progress
        std::array<std::uint64_t, 3> reached{};  // counters of which every progress changes one
    };

    // Closing (closing.cpp).
    void begin_drain(Socket& socket, std::int64_t timeout);
    void shorten_drain(Socket& socket, std::int64_t timeout);
    bool note_drained(Socket& socket);
    void watch_drain(Socket& socket);
    void check_drain(Socket& socket);
    void end_now(Socket& socket);
    void reset(Socket& socket);
    void fail_with(const Operation& op, int code);
    void fail_socket(Socket& socket, Error error);
    [[nodiscard]] bool spent(Socket& socket);
    void begin_cancel(Socket& socket);
    void cancel_lane(Socket& socket, Lane& lane);
    void settle(Socket& socket);
    void give_up_address(Socket& socket);
    void hand_out_closed(Socket& socket);
    void after_sends(Socket& socket);

    Socket* new_socket(Handle handle);
    void give_back(Socket& socket) noexcept;
    Error join(Socket* socket, Handle handle, bool adopted, Socket*& out);
    void close_unused(Handle handle);
    static void unlist(Socket*& first, Socket*& last, Socket* Socket::*next,
                       Socket& socket) noexcept;
    Error turn(std::unique_lock<std::mutex>& lock, std::int64_t deadline);
    Error lead(std::unique_lock<std::mutex>& lock, std::int64_t deadline);
    [[nodiscard]] std::int64_t until(std::int64_t deadline) const noexcept;
    void reap();
    void complete_packets();
    [[nodiscard]] bool restart_requests();
    void push(Ready ready) noexcept;
    void remind();
    // What the backend's call comes to; the system's error for it where memory was lacking.
    template <class Call>
    [[nodiscard]] StartResult within_memory(Call&& call) noexcept {
        try {
            return call();
        } catch (const std::bad_alloc&) {
            return {Start::failed, backend_->memory_code()};
        }
    }
    void ask_cancel(Operation& op) noexcept;
    [[nodiscard]] Error out_of_memory() const noexcept;
    void nudge() noexcept;

    std::mutex mutex_;
    PortOptions options_;
    BufferPool& pool_;
    Ledger ledger_;
    SlotTable<Operation> operations_;
    SlotTable<Socket> sockets_;
    TimerHeap timers_;
    std::unique_ptr<Backend> backend_;
    Capabilities capabilities_;
    ReadyQueue ready_;
    std::optional<Workers> workers_;  // where several threads run the port
    std::vector<Packet> packets_;
    Operation* aside_first_{nullptr};  // by `next_finished`
    Operation* aside_last_{nullptr};
    std::atomic<bool> any_aside_{false};
    Audience* audience_{nullptr};
    std::deque<Held> held_;  // the budget queue: posted, not accepted into the ledger yet
    std::vector<Registered> registered_;
    std::vector<SlotId> starved_;  // refused by the system, to be tried again
    std::vector<SlotId> capped_;   // accept_each at the cap on connections
    std::vector<SlotId> busy_;     // adaptive subscriptions that are not zero-byte
    Timer* patience_{nullptr};     // while something is held
    Timer* starvation_{nullptr};   // while something is starved
    Timer* cooling_{nullptr};      // while something is busy
    Socket* flush_first_{nullptr};
    Socket* flush_last_{nullptr};
    Socket* drain_first_{nullptr};
    Socket* drain_last_{nullptr};
    Region* space_{nullptr};  // where drains read to; shared by the messages cut from it
    std::size_t space_used_{0};
    std::size_t drained_bytes_{0};  // in this turn
    std::uint32_t turn_number_{1};
    std::unordered_map<std::uint32_t, Drain> drains_;  // by the slots of their sockets
    std::unordered_map<std::uint32_t, std::deque<Ready>> withheld_;  // the same
    std::atomic<std::size_t> paused_sockets_{0};                     // paused, or withholding
    std::size_t calls_{0};                                           // timers of the application
    std::size_t outstanding_{0};
    std::size_t open_sockets_{0};
    std::size_t capped_sockets_{0};  // open, and counted against the cap on connections
    std::size_t unreleased_{0};      // sends that only wait for their release
    std::int64_t turn_time_{0};      // the backend's time of this turn
    std::array<std::uint32_t, charge_kinds> unfinished_{};
    // The same of each socket, by slot; empty without a cap on sockets.
    std::vector<std::array<std::uint32_t, charge_kinds>> admitted_;
    PortCounts counts_;
    Tally tally_;
    std::size_t budget_queue_{0};        // operations that are held
    std::uint64_t send_queue_bytes_{0};  // of sends in lanes, still to go
    std::unique_ptr<Latencies> latencies_;
    std::unique_ptr<Trace> trace_;
    std::atomic<bool> observed_{false};  // somebody wants to know when completions are handed out
    bool sleeping_{false};
    bool woken_{false};      // the next wait must not last
    bool was_woken_{false};  // some wait was ended by wake()
    bool feeds_{false};      // something completed since the starved were tried
    bool closing_{false};
    bool restarts_{false};  // the requests of a thread that is gone have to be started again
    bool reminded_{
        false};          // for want of memory something was not asked or told: the next turn is to
    bool ended_{false};  // one of several threads was told that it is over
    bool abandoned_{false};
};

}  // namespace iocp
