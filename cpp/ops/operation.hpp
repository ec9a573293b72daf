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
    writable,      // waits for room to send, and lends the system no memory
    disconnect,    // ends the connection after the queued sends, and keeps the socket
    receive_each,  // a subscription to every message of a stream
    accept_each,   // a subscription to every connection of a listener
};
inline constexpr std::size_t kinds = 9;

// The states of an operation: idle -> queued -> pending -> (cancelling) -> completed -> idle with a
// new generation. Only the port writes the state, under its lock; any thread may read it.
enum class State : std::uint8_t { idle, queued, pending, cancelling, completed };

// The state of an operation when its post returns (R01). A failed post has no outcome.
enum class Outcome : std::uint8_t { done, pending, queued };
inline constexpr std::size_t outcomes = 3;

// How a subscription receives (R13). An adaptive subscription switches between these strategies,
// and uses one at a time.
enum class ReceiveStrategy : std::uint8_t { pooled, direct, zero_byte, datagrams };
inline constexpr std::size_t receive_strategies = 4;

// One posted receive, send, accept, connect or disconnect. A SlotTable owns the Operation. The
// Operation owns its lease and its charge until its completion is handed out.
struct Operation {
    SlotId id;
    Socket* socket{nullptr};
    union {
        Operation* next{nullptr};  // in a lane: the next operation
        Socket* accepted;          // of an accept that has left its lane: the connection
    };
    void* user{nullptr};  // the Python object, for the bindings; the core never reads it
    // The operation's memory; `length` counts all its bytes. `data` points to the memory itself,
    // or, if `slices` is not 0, to an array of ConstBytes. If `is_message` is true it points to a
    // Message, if `from_file` to a SentFile.
    Lease lease;
    std::size_t transferred{0};
    Ledger::Receipt receipt;
    union {
        Timer* deadline{nullptr};
        // Of a finished operation: the next one in its list. The list holds notified completions,
        // or operations that wait for memory for their records.
        Operation* next_finished;
    };
    union {
        Error error{};        // the result, valid once `ended` is true
        Operation* previous;  // in a lane: the previous operation
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
    bool batched : 1 {false};         // sent by the next flush; its post does not try it
    bool held : 1 {false};            // in the budget queue: neither charged nor started
    bool admitted : 1 {false};        // counted against the caps
    bool attempted : 1 {false};       // its post tried it, and the call would have blocked
    bool readiness_only : 1 {false};  // a readiness wait: lends the system no memory
    bool paused : 1 {false};          // the core will start it again, after a refusal or a cap
    bool waits_for_all : 1 {false};   // MSG_WAITALL: a receive that waits for a full buffer
    bool silent : 1 {false};          // done by its post; no completion is queued
    bool notifies : 1 {false};        // its end notifies the completion listener
    // A send without a Python object. Its success makes no record, and of its failures only the
    // first one of its socket does.
    bool muted : 1 {false};
    bool gathers : 1 {false};     // muted, in a page of its own, to which later sends are added
    bool divisible : 1 {false};   // a send that a cancel may cut: later ones follow it
    bool direct : 1 {false};      // a direct send
    bool releasing : 1 {false};   // finished, but the kernel still reads its memory
    bool yields : 1 {false};      // asked to give its pages back and wait without memory
    bool adaptive : 1 {false};    // receive_each: the strategy follows the traffic
    bool reads_next : 1 {false};  // receive_each: the next turn reads before it waits
    bool switched : 1 {false};    // receive_each: the strategy changed, for the next start
    bool is_message : 1 {false};  // the lease holds a Message
    bool from_file : 1 {false};   // a send from a file, without memory or parts
    bool uncounted : 1 {false};   // a file of unknown length, sent up to its end
    bool reuse : 1 {false};       // disconnect: the socket is to connect or listen again
    bool asked : 1 {false};       // for backends: the system has been asked to do it
    std::uint8_t releases{0};     // requests that are sent, but whose memory the kernel still reads
    // receive_each: small reads in a row. Enough of them change to a multishot receive.
    std::uint8_t small_reads{0};
    std::uint8_t large_packets{0};  // receive_each: large packets in a row; enough change to reads
    union {
        std::uint8_t refusals{0};  // refusals by a temporary error, such as a full queue
        std::uint8_t streak;       // adaptive receive_each: messages in quick succession
    };
    union {
        std::uint32_t block_size{0};  // receive_each: size of each posted buffer or datagram
        std::int32_t answer;          // of a receive that got data: the system's MSG_* flags
    };

    [[nodiscard]] bool finished() const noexcept {
        return state.load(std::memory_order_relaxed) == State::completed;
    }
    [[nodiscard]] bool subscription() const noexcept {
        return kind == OperationKind::receive_each || kind == OperationKind::accept_each;
    }
    // Returns whether the operation is paused until its socket's timer starts it again.
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

    // Counts `bytes` more as transferred. If a file gives no byte, it has ended before the
    // requested count, so the send ends there.
    void advance(std::size_t bytes) noexcept {
        transferred += bytes;
        if (from_file && bytes == 0) {
            lease.length = transferred;
        }
    }

    // Calls visit(data, length) for every part still to send or fill, in order, until `visit`
    // returns false.
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

    // Makes the slot ready for the next operation. Precondition: the lease was given back.
    void recycle() noexcept {
        const SlotId name = id;
        receipt.refund();
        this->~Operation();
        new (this) Operation;
        id = name;
    }
};

// Limits the size, because every idle connection has an Operation for its subscription.
static_assert(sizeof(void*) != 8 || sizeof(Operation) <= 152);

}  // namespace iocp
