#pragma once

#include <cstddef>
#include <cstdint>

#include "core/error.hpp"
#include "core/nagle.hpp"
#include "core/operation.hpp"
#include "core/slot_table.hpp"

namespace iocp {

struct Timer;

// The platform's name of a socket: a descriptor, a SOCKET, or an index into a model.
using Handle = std::intptr_t;
inline constexpr Handle no_handle = -1;

// The operations of one direction of one socket, in posting order. The kernel holds at most one
// request of a lane, covering the first `started` operations; the rest waits here (R30). Every
// member takes constant time: a lane may hold 100,000 operations.
struct Lane {
    Operation* head{nullptr};
    Operation* tail{nullptr};
    std::uint64_t started : 8 {0};
    std::uint64_t cancels : 8 {0};  // operations that stay only until their request is over
    std::uint64_t bytes : 48 {0};   // still to go of the sends that stand here
    // The request is over for the kernel, or never reached it; what is left is the core's.
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
    // The operation ends as soon as the kernel, or whoever calls, lets it.
    void note_cancel(Operation& op) noexcept {
        cancels += op.cancel_requested ? 0U : 1U;
        op.cancel_requested = true;
    }
    // Whether the kernel's request covers the operation.
    [[nodiscard]] bool has_started(const Operation& op) const noexcept {
        const Operation* at = head;
        for (unsigned i = 0; i < started; ++i, at = at->next) {
            if (at == &op) {
                return true;
            }
        }
        return false;
    }
    // So many bytes of the send at the head have gone. Returns by how much less is to go: by more
    // where its file has ended before its count.
    std::size_t advance(std::size_t count) noexcept {
        const std::size_t before = head->bytes_to_send();
        head->advance(count);
        const std::size_t less = before - head->bytes_to_send();
        bytes -= less;
        return less;
    }
};

// One request covers at most this many operations.
inline constexpr unsigned most_started = 64;

// How a socket sends (R16): copied to the system's buffer, the same but without ever leaving memory
// with the system while it waits for room, or from where the data lies.
enum class Send : std::uint8_t { buffered, when_writable, direct };
inline constexpr std::size_t send_strategies = 3;

// Bytes queued to send: over `high` the sender is asked to pause, at `low` to go on; a post beyond
// `cap` is refused. 0: none.
struct SendMarks {
    std::uint32_t high{0};
    std::uint32_t low{0};
    std::uint32_t cap{0};
};

enum class Life : std::uint8_t {
    free,
    open,
    draining,    // close() was called; queued sends still go out
    cancelling,  // waiting for the kernel to give back what it holds
    closed,      // the descriptor is gone; the completions are being handed out
};
inline constexpr std::size_t lives = 5;

class Socket {
public:
    SlotId id;
    Handle handle{no_handle};
    void* user{nullptr};  // the binding's object; never read by the core
    Lane receiving;
    Lane sending;
    Socket* next_flush{nullptr};  // in the port's list of sockets with sends to start
    Socket* next_drain{nullptr};  // in the port's list of sockets with more to read this turn
    union {
        // Of a paused operation, or of the drain after close(): never both.
        Timer* timer{nullptr};
        Socket* next_closed;  // closed, and without memory for the record that tells so
    };
    Error failure;  // what ended the socket, or is about to, if an error did
    std::uint32_t sequence{0};
    std::uint32_t charged_pages{0};
    std::uint32_t drain_turn{0};    // the port's turn in which it was drained last
    std::uint32_t outstanding{0};   // accepted operations whose completion was not handed out
    std::uint32_t backend_bits{0};  // the backend's own; zero when the socket is made
    std::uint32_t active_ms{0};     // the port's time when it last moved bytes, modulo 2^32
    SendMarks marks;
    std::uint32_t releasing{0};  // sends that went and whose memory the kernel still reads
    std::uint32_t taken{0};      // bytes_taken() as the idle timeout saw it last, modulo 2^32
    std::int16_t family{0};
    std::int16_t protocol{0};
    std::uint8_t type{0};
    Life life{Life::free};
    Send send_strategy{Send::buffered};
    bool stream : 1 {false};  // bytes without borders: sends may be coalesced
    bool flush_listed : 1 {false};
    bool drain_listed : 1 {false};
    bool send_shut : 1 {false};    // shutdown for writing asked for; it follows the queued sends
    bool fin_sent : 1 {false};     // that shutdown was made
    bool send_cut : 1 {false};     // a send went out in part: the stream's framing is gone (R31)
    bool keep_handle : 1 {false};  // detach(): the descriptor is the caller's again
    bool connected : 1 {false};
    bool skip_done : 1 {false};        // operations that are done by their post leave no packet
    bool shared : 1 {false};           // others are known to hold the descriptor too
    bool was_nonblocking : 1 {false};  // as it was adopted, and as detach() leaves it
    bool listening : 1 {false};        // its address is taken for as long as it is not closed
    bool gives_nodelay : 1 {false};    // an adopted listener: the port's choice, not its own, holds
    bool send_paused : 1 {false};      // over the high mark, and not yet down to the low one
    bool capped : 1 {false};           // counts against the port's cap on connections
    // Accepted, and not handed out yet: until then its end is not told, for it would be retired
    // under the thread that hands it out.
    bool unclaimed : 1 {false};
    bool gave_up : 1 {false};         // closed with data left: its receives did not fail
    bool send_broken : 1 {false};     // `failure` is of sending alone, and receives go on
    bool read_ended : 1 {false};      // a receive has met the end of the stream
    bool reading_paused : 1 {false};  // nothing of its subscription starts or is handed out
    bool withholding : 1 {false};     // the port keeps its records until it resumes
    bool resuming : 1 {false};        // and has queued the record that hands them out
    bool resetting : 1 {false};       // its close is to be a reset
    NagleWatch nagle;

    // Whether its address can be given to another socket only once it is closed.
    [[nodiscard]] bool holds_address() const noexcept { return listening || !stream; }

    [[nodiscard]] Lane& lane_of(const Operation& op) noexcept {
        return op.sending() ? sending : receiving;
    }

    void recycle() noexcept {
        const SlotId name = id;
        *this = Socket{};
        id = name;
    }
};

// An idle connection costs at most 512 bytes of user-space memory in all; this is its largest part.
static_assert(sizeof(void*) != 8 || sizeof(Socket) <= 168);

}  // namespace iocp
