#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.hpp"
#include "base/slot_table.hpp"
#include "ops/nagle.hpp"
#include "ops/operation.hpp"

namespace iocp {

struct Timer;

// Identifies a socket at its backend: a file descriptor, a SOCKET, or an index into the model's
// sockets.
using Handle = std::intptr_t;
inline constexpr Handle no_handle = -1;

// The operations of one direction of one socket, in posting order. The kernel holds at most one
// request of a lane, which covers the first `started` operations. The others wait in the lane
// (R30). Every member function takes constant time, because a lane may hold 100,000 operations.
struct Lane {
    Operation* head{nullptr};
    Operation* tail{nullptr};
    std::uint64_t started : 7 {0};  // operations in the kernel's request; at most max_started
    std::uint64_t cancels : 8 {0};  // cancelled operations that are still in the lane
    // The system ended the request, because the thread that issued it ended. Set only while
    // `started` is not 0.
    std::uint64_t lost : 1 {0};
    std::uint64_t bytes : 48 {0};  // bytes still to send, over all sends in the lane
    // Returns the first operation, whose id identifies the kernel's request; null if there is no
    // request.
    [[nodiscard]] Operation* request() const noexcept { return started != 0 ? head : nullptr; }
    // Returns whether the lane is empty: no request is in the kernel and no operation waits.
    [[nodiscard]] bool idle() const noexcept { return head == nullptr; }

    void push(Operation& op) noexcept {
        op.next = nullptr;
        op.previous = tail;
        (tail != nullptr ? tail->next : head) = &op;
        tail = &op;
        bytes += op.bytes_to_send();
    }
    Operation& pop() noexcept {
        Operation& op = *head;
        unlink(op);
        return op;
    }
    void unlink(Operation& op) noexcept {
        (op.previous != nullptr ? op.previous->next : head) = op.next;
        (op.next != nullptr ? op.next->previous : tail) = op.previous;
        op.next = nullptr;
        cancels -= op.cancel_requested ? 1U : 0U;
        bytes -= op.bytes_to_send();
    }
    // Marks the operation cancelled. A started operation ends when the kernel has ended its
    // request.
    void note_cancel(Operation& op) noexcept {
        cancels += op.cancel_requested ? 0U : 1U;
        op.cancel_requested = true;
    }
    // Returns whether the kernel's request covers the operation.
    [[nodiscard]] bool has_started(const Operation& op) const noexcept {
        const Operation* at = head;
        for (unsigned i = 0; i < started; ++i, at = at->next) {
            if (at == &op) {
                return true;
            }
        }
        return false;
    }
    // Notes that the kernel has ended the lane's request.
    void end_request() noexcept {
        started = 0;
        lost = 0;
    }
    // Counts `count` bytes of the first send as sent. Returns by how many bytes the lane's bytes to
    // send decrease: more than `count` if the send's file ended before its count.
    std::size_t advance(std::size_t count) noexcept {
        const std::size_t before = head->bytes_to_send();
        head->advance(count);
        const std::size_t less = before - head->bytes_to_send();
        bytes -= less;
        return less;
    }
};

// The maximum number of operations that one request covers.
inline constexpr unsigned max_started = 64;
static_assert(max_started < 1U << 7U, "Lane::started has seven bits");

// How a socket sends (R16). `buffered` copies to the system's send buffer. `when_writable` does the
// same, but lends the system no memory while it waits for room. `direct` sends from the caller's
// memory without a copy.
enum class SendStrategy : std::uint8_t { buffered, when_writable, direct };
inline constexpr std::size_t send_strategies = 3;

// Limits for the bytes queued to send on a socket. Above `high` the sender is asked to pause, at
// `low` to go on. A post that would pass `cap` is refused. 0 means no limit.
struct SendMarks {
    std::uint32_t high{0};
    std::uint32_t low{0};
    std::uint32_t cap{0};
};

enum class SocketState : std::uint8_t {
    free,
    open,
    draining,    // close() was called; queued sends still go out
    cancelling,  // the requests are cancelled, and must end before the descriptor is closed
    closed,      // the descriptor is closed; completions are still handed out
};
inline constexpr std::size_t lives = 5;

// A set of bits for the work that a step leaves to be done at a socket (effects.hpp).
using Effects = std::uint8_t;

// A socket's link in one SocketList: the slot of the next socket in the list.
struct SocketLink {
    static constexpr std::uint32_t unlisted = ~std::uint32_t{0};
    static constexpr std::uint32_t last = unlisted - 1;

    std::uint32_t next{unlisted};

    [[nodiscard]] bool listed() const noexcept { return next != unlisted; }
};

class Socket {
public:
    SlotId id;
    Handle handle{no_handle};
    void* user{nullptr};  // the Python object, for the bindings; the core never reads it
    Lane receiving;
    Lane sending;
    SocketLink flushes;       // in the list of sockets with sends to flush
    SocketLink resumes;       // in the list of sockets whose subscription goes on next turn
    SocketLink effects_link;  // in the worklist while `effects` is not 0
    union {
        // The timer of a paused operation, of the idle timeout, or of a close that waits for its
        // sends. A socket needs one of them at a time.
        Timer* timer{nullptr};
        Socket* next_closed;  // the next closed socket that waits for memory for its record
    };
    Error failure;  // the error that ended the socket, or will end it
    std::uint32_t sequence{0};
    std::uint32_t charged_pages{0};
    std::uint32_t drain_turn{0};    // the number of the turn that last drained the socket
    std::uint32_t outstanding{0};   // accepted operations whose completion is not handed out
    std::uint32_t backend_bits{0};  // used by the backend alone; 0 in a new socket
    std::uint32_t active_ms{0};     // time of the last progress, in milliseconds modulo 2^32
    SendMarks marks;
    std::uint32_t releasing{0};  // sends that are complete, but whose memory the kernel still reads
    std::uint32_t taken{0};      // bytes_taken() at the last check of the idle timeout, modulo 2^32
    std::int16_t family{0};
    std::int16_t protocol{0};
    std::uint8_t type{0};
    SocketState state{SocketState::free};
    SendStrategy send_strategy : 2 {SendStrategy::buffered};
    bool stream : 1 {false};     // a byte stream without message borders: sends may be coalesced
    bool send_shut : 1 {false};  // shutdown for writing was asked for; it follows the queued sends
    bool fin_sent : 1 {false};   // the shutdown for writing was made
    bool send_cut : 1 {false};   // a send was cut part-way: nothing may follow it (R31)
    bool keep_handle : 1 {false};  // detach() was called: the caller gets the descriptor
    bool connected : 1 {false};
    bool skip_done : 1 {false};        // operations that complete in their post queue no completion
    bool shared : 1 {false};           // other code may hold the same open file
    bool was_nonblocking : 1 {false};  // the mode before the adoption, which detach() restores
    bool listening : 1 {false};        // a listener, which holds its address until it is closed
    // The port's default is nodelay: sockets that this adopted listener accepts get TCP_NODELAY.
    bool gives_nodelay : 1 {false};
    bool send_paused : 1 {false};  // asked to pause at the high mark, and not to go on yet
    bool capped : 1 {false};       // counts against the port's cap on connections
    // The connection was accepted, but is not handed out yet. Until then its `closed` record waits,
    // because the hand-out of that record would free the socket while a thread still delivers it.
    bool unclaimed : 1 {false};
    bool gave_up : 1 {false};         // closed with data unsent: receives end as cancelled
    bool send_broken : 1 {false};     // `failure` concerns sending alone; receives go on
    bool read_ended : 1 {false};      // a receive has met the end of the stream
    bool reading_paused : 1 {false};  // the subscription reads nothing and hands out nothing
    bool withholding : 1 {false};     // the port keeps the records until reading resumes
    bool resuming : 1 {false};        // a queued `resumed` record will hand out the kept records
    bool resetting : 1 {false};       // its close will be a reset
    bool subscribed : 1 {false};      // has a subscription whose completion is not handed out
    bool borrowed : 1 {false};        // its end leaves the descriptor open, for the caller
    bool watched : 1 {false};         // borrowed, and takes readiness waits only
    bool mute_broken : 1 {false};     // the failure of a muted send has made its record
    // Its end by an error leaves the descriptor open, until close() or abort().
    bool keeps_open : 1 {false};
    bool end_reported : 1 {false};  // keeps_open: that end has made its record
    NagleWatch nagle;
    Effects effects{0};  // the work still to be done at this socket (effects.hpp)

    // Returns whether close() should end the socket before it returns. The caller may next bind
    // another socket to the address, or close the descriptor that it lent.
    [[nodiscard]] bool ends_at_once() const noexcept { return listening || !stream || borrowed; }

    // Returns whether both lanes are empty.
    [[nodiscard]] bool idle() const noexcept { return receiving.idle() && sending.idle(); }
    // Returns whether the bytes queued to send have crossed a mark: the high one, while the sender
    // is not paused, or the low one, while it is. Without marks a paused sender always goes on.
    [[nodiscard]] bool crossed_mark() const noexcept {
        if (send_paused) {
            return marks.high == 0 || sending.bytes <= marks.low;
        }
        return marks.high != 0 && sending.bytes > marks.high;
    }
    // Returns whether the socket's operations may be started.
    [[nodiscard]] bool live() const noexcept {
        return state == SocketState::open || state == SocketState::draining;
    }
    // Notes received bytes as progress. While sends are queued only sent bytes count.
    void note_received(std::uint32_t milliseconds) noexcept {
        if (sending.bytes == 0) {
            active_ms = milliseconds;
        }
    }

    [[nodiscard]] Lane& lane_of(const Operation& op) noexcept {
        return op.sending() ? sending : receiving;
    }

    void recycle() noexcept {
        const SlotId name = id;
        *this = Socket{};
        id = name;
    }
};

// An idle connection costs at most 512 bytes of user-space memory; the Socket is the largest part.
static_assert(sizeof(void*) != 8 || sizeof(Socket) <= 168);

}  // namespace iocp
