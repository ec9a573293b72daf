#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/error.hpp"
#include "base/slot_table.hpp"
#include "ops/buffer.hpp"
#include "ops/ledger.hpp"
#include "ops/message.hpp"

namespace iocp {

class Socket;
struct Timer;

enum class OperationKind : std::uint8_t {
    receive,
    zero_byte,
    send,
    connect,
    accept,
    writable,      // waits for room to send, without memory
    disconnect,    // ends the connection behind the queued sends and keeps the socket
    receive_each,  // a subscription to every message of a stream
    accept_each,   // a subscription to every connection of a listener
};
inline constexpr std::size_t kinds = 9;

// idle -> queued -> pending -> (cancelling) -> completed -> idle with a new generation. Only the
// port writes it, under its lock; any thread may read it.
enum class State : std::uint8_t { idle, queued, pending, cancelling, completed };

// The state of an operation when its post returns (R01). A failed post has no outcome.
enum class Outcome : std::uint8_t { done, pending, queued };
inline constexpr std::size_t outcomes = 3;

// The strategy of a subscription that receives (R13). An adaptive one uses exactly one of these at
// any moment.
enum class ReceiveStrategy : std::uint8_t { pooled, direct, zero_byte, datagrams };
inline constexpr std::size_t receive_strategies = 4;

// One posted receive, send, accept, connect or disconnect. The table owns it. It owns its lease and
// its charge until its completion is handed out.
struct Operation {
    SlotId id;
    Socket* socket{nullptr};
    union {
        Operation* next{nullptr};  // in a lane: the operation behind this one
        Socket* accepted;          // accept that has left its lane: the connection
    };
    void* user{nullptr};  // the binding's object; the core never reads it
    // The operation's memory, `length` bytes in all. `data` points to one block, or, with `slices`,
    // to an array of ConstBytes. With `is_message` it points to a Message, with `from_file` to a
    // SentFile.
    Lease lease;
    std::size_t transferred{0};
    Ledger::Receipt receipt;
    union {
        Timer* deadline{nullptr};
        // Of a finished operation: the next in the list of notified completions, or of records
        // without memory.
        Operation* next_finished;
    };
    union {
        Error error{};        // the result, valid from `ended` on
        Operation* previous;  // in a lane: the operation before this one
    };
    std::int32_t flags{0};  // the caller's MSG_* flags
    std::uint32_t sequence{0};
    std::uint16_t slices{0};
    OperationKind kind{OperationKind::receive};
    std::atomic<State> state{State::idle};
    Outcome outcome{Outcome::pending};
    ReceiveStrategy strategy{ReceiveStrategy::pooled};
    bool cancel_requested : 1 {false};
    bool ended : 1 {false};  // has left its lane for good, and `error` is valid
    bool timed_out : 1 {false};
    bool batched : 1 {false};         // goes out with the next flush; the post makes no attempt
    bool held : 1 {false};            // in the budget queue: neither charged nor started
    bool admitted : 1 {false};        // counted against the caps
    bool attempted : 1 {false};       // its post has tried it, and it would have blocked
    bool readiness_only : 1 {false};  // a readiness wait: lends the system no memory
    bool paused : 1 {false};          // the core starts it again later, after a refusal or a cap
    bool waits_for_all
        : 1 {false};            // waits for all: a receive that ends only when its buffer is full
    bool silent : 1 {false};    // done by its post, and skips its packet
    bool notifies : 1 {false};  // a completion listener is notified of its end
    // A send without an object: its success makes no record, and only its socket's first failure
    // does.
    bool muted : 1 {false};
    bool gathers : 1 {false};     // muted, in a page of its own, to which later sends are added
    bool divisible : 1 {false};   // a send that a cancel may cut: later ones go on behind it
    bool direct : 1 {false};      // a direct send
    bool releasing : 1 {false};   // finished except for the releases that it waits for
    bool yields : 1 {false};      // asked to give its pages back and to wait without memory
    bool adaptive : 1 {false};    // receive_each: the strategy follows the traffic
    bool reads_next : 1 {false};  // receive_each: the next turn reads before it waits
    bool switched : 1 {false};    // receive_each: the next start uses a new strategy
    bool is_message : 1 {false};  // the lease holds a Message
    bool from_file : 1 {false};   // a send from a file, without memory or parts
    bool uncounted : 1 {false};   // a file of unknown length, sent up to its end
    bool reuse : 1 {false};       // disconnect: the socket is to connect or listen again
    bool asked : 1 {false};       // the backend's own: it has asked the system for this already
    std::uint8_t releases{0};  // requests whose bytes went and whose memory the kernel still reads
    // receive_each: reads in a row that a multishot receive serves better.
    std::uint8_t small_reads{0};
    std::uint8_t large_packets{0};  // receive_each: packets in a row that a read(2) serves better
    union {
        std::uint8_t refusals{0};  // connect, datagram: refusals by a full queue
        std::uint8_t streak;       // adaptive receive_each: messages in quick succession
    };
    union {
        std::uint32_t block_size{0};  // receive_each: bytes of each posted buffer or datagram
        std::int32_t answer;          // receive that has got data: the system's MSG_* flags
    };

    [[nodiscard]] bool finished() const noexcept {
        return state.load(std::memory_order_relaxed) == State::completed;
    }
    [[nodiscard]] bool subscription() const noexcept {
        return kind == OperationKind::receive_each || kind == OperationKind::accept_each;
    }
    // Returns whether the operation waits for its socket's timer.
    [[nodiscard]] bool backs_off() const noexcept {
        return paused && !subscription() && refusals != 0;
    }
    [[nodiscard]] bool sending() const noexcept {
        return kind == OperationKind::send || kind == OperationKind::connect ||
               kind == OperationKind::writable || kind == OperationKind::disconnect;
    }
    [[nodiscard]] std::size_t remaining() const noexcept { return lease.length - transferred; }
    [[nodiscard]] std::size_t bytes_to_send() const noexcept {
        return kind == OperationKind::send && !uncounted ? remaining() : 0;
    }
    [[nodiscard]] Message* message() const noexcept {
        return is_message ? reinterpret_cast<Message*>(lease.data) : nullptr;
    }

    // Counts `bytes` more as sent. A read of no bytes means that the file ended before its count,
    // so the send ends there.
    void advance(std::size_t bytes) noexcept {
        transferred += bytes;
        if (from_file && bytes == 0) {
            lease.length = transferred;
        }
    }

    // Calls visit(data, length) for every part still to send or fill, in order, until it returns
    // false.
    template <class Visit>
    bool each_part(Visit&& visit) const {
        if (slices == 0) {
            return remaining() == 0 || visit(lease.data + transferred, remaining());
        }
        std::size_t skip = transferred;
        const auto* parts =
            is_message ? message()->parts : reinterpret_cast<const ConstBytes*>(lease.data);
        for (std::uint16_t i = 0; i < slices; ++i) {
            if (skip >= parts[i].length) {
                skip -= parts[i].length;
                continue;
            }
            if (!visit(const_cast<std::byte*>(parts[i].data) + skip, parts[i].length - skip)) {
                return false;
            }
            skip = 0;
        }
        return true;
    }

    // Precondition: the lease was given back.
    void recycle() noexcept {
        const SlotId name = id;
        receipt.refund();
        this->~Operation();
        new (this) Operation;
        id = name;
    }
};

// Bounds the cost of an idle connection, whose subscription is one Operation.
static_assert(sizeof(void*) != 8 || sizeof(Operation) <= 152);

}  // namespace iocp
