#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/buffer.hpp"
#include "core/error.hpp"
#include "core/ledger.hpp"
#include "core/message.hpp"
#include "core/slot_table.hpp"

namespace iocp {

class Socket;
struct Timer;

enum class Kind : std::uint8_t {
    receive,
    zero_byte,
    send,
    connect,
    accept,
    writable,      // waits for room to send and holds no memory
    disconnect,    // ends the connection behind the sends and keeps the socket
    receive_each,  // a subscription: every message of a stream
    accept_each,   // a subscription: every connection of a listener
};
inline constexpr std::size_t kinds = 9;

// idle -> queued -> pending -> (cancelling) -> completed -> idle with the generation raised. Only
// the Port writes it; other threads may read it.
enum class State : std::uint8_t { idle, queued, pending, cancelling, completed };

// What a post came to, as its caller saw it when the post returned (R01); failed posts leave none.
enum class Outcome : std::uint8_t { done, pending, queued };
inline constexpr std::size_t outcomes = 3;

// How a subscription receives (R13). An adaptive one is at every moment one of these.
enum class Receive : std::uint8_t { pooled, direct, zero_byte, datagrams };
inline constexpr std::size_t receive_strategies = 4;

// One posted receive, send, accept, connect or disconnect. The table owns it; it owns its lease and
// its charge until its completion has been handed out.
struct Operation {
    SlotId id;
    Socket* socket{nullptr};
    union {
        Operation* next{nullptr};  // behind it, while it is in a lane
        Socket* accepted;          // accept: the connection, once it has left its lane
    };
    void* user{nullptr};  // the binding's object; never read by the core
    // The operation's memory: one block, or, when `slices` is not 0, an array of ConstBytes at
    // `data`, or in the Message there, with `length` bytes in all; or, when `from_file` is set, a
    // SentFile at `data`.
    Lease lease;
    std::size_t transferred{0};
    Ledger::Receipt receipt;
    union {
        Timer* deadline{nullptr};
        Operation* next_finished;  // over, and in a list: aside, or without memory for its record
    };
    union {
        Error error{};        // how it ended, from `ended` on
        Operation* previous;  // before it, while it is in a lane
    };
    std::int32_t flags{0};  // MSG_* of the caller
    std::uint32_t sequence{0};
    std::uint16_t slices{0};
    Kind kind{Kind::receive};
    std::atomic<State> state{State::idle};
    Outcome outcome{Outcome::pending};
    Receive strategy{Receive::pooled};
    bool cancel_requested : 1 {false};
    bool ended : 1 {false};  // it has left its lane for good, and `error` is set
    bool timed_out : 1 {false};
    bool batched : 1 {false};   // goes out with the next flush, without an attempt at the post
    bool held : 1 {false};      // in the budget queue: not charged, not started
    bool admitted : 1 {false};  // counted against the caps
    // connect: the system was asked once; else: by the post, when it would have blocked.
    bool begun : 1 {false};
    bool watching : 1 {false};      // waits for readability and holds no memory
    bool paused : 1 {false};        // the core starts it again later: a refusal, a cap
    bool fills : 1 {false};         // a receive that is not done before its buffer is full
    bool silent : 1 {false};        // done by its post, and its packet is not wanted
    bool told : 1 {false};          // somebody besides the queue hears of its end: the audience
    bool direct : 1 {false};        // a send from where the data lies
    bool releasing : 1 {false};     // over but for the releases that it waits for
    bool yields : 1 {false};        // asked to give its pages back and to wait without
    bool adaptive : 1 {false};      // receive_each: the strategy follows the traffic
    bool reads_next : 1 {false};    // receive_each: its next turn reads before it waits
    bool switched : 1 {false};      // receive_each: the strategy is another one from the next start
    bool is_message : 1 {false};    // its lease holds a Message
    bool from_file : 1 {false};     // a send whose bytes are a file's: no memory, no parts
    bool uncounted : 1 {false};     // a file whose length the system does not tell, sent whole
    bool reuse : 1 {false};         // disconnect: the socket is to connect or listen again
    bool going : 1 {false};         // disconnect, a file: the backend has asked the system already
    std::uint8_t releases{0};       // requests that went and whose memory the kernel still reads
    std::uint8_t small_reads{0};    // receive_each: reads in a row that a multishot serves better
    std::uint8_t large_packets{0};  // receive_each: packets in a row that a read(2) serves better
    union {
        std::uint8_t refusals{0};  // connect, datagram: by a queue that is full
        std::uint8_t streak;       // receive_each, adaptive: messages that came close together
    };
    union {
        std::uint32_t block_size{0};  // receive_each: bytes of each posted buffer, or datagram
        std::int32_t answer;          // receive, once it has got something: MSG_* of the system
    };

    [[nodiscard]] bool finished() const noexcept {
        return state.load(std::memory_order_relaxed) == State::completed;
    }
    [[nodiscard]] bool subscription() const noexcept {
        return kind == Kind::receive_each || kind == Kind::accept_each;
    }
    // Whether the timer of its socket is what it waits for.
    [[nodiscard]] bool backs_off() const noexcept {
        return paused && !subscription() && refusals != 0;
    }
    [[nodiscard]] bool sending() const noexcept {
        return kind == Kind::send || kind == Kind::connect || kind == Kind::writable ||
               kind == Kind::disconnect;
    }
    [[nodiscard]] std::size_t remaining() const noexcept { return lease.length - transferred; }
    [[nodiscard]] std::size_t bytes_to_send() const noexcept {
        return kind == Kind::send && !uncounted ? remaining() : 0;
    }
    [[nodiscard]] Message* message() const noexcept {
        return is_message ? reinterpret_cast<Message*>(lease.data) : nullptr;
    }

    // So many bytes more of a send went. A file that gave none has ended before its count, and its
    // send with it.
    void advance(std::size_t bytes) noexcept {
        transferred += bytes;
        if (from_file && bytes == 0) {
            lease.length = transferred;
        }
    }

    // Calls visit(data, length) for every part still to go, in order; stops when it returns false.
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

    // Precondition: the lease and the receipt are settled already.
    void recycle() noexcept {
        const SlotId name = id;
        receipt.refund();
        this->~Operation();
        new (this) Operation;
        id = name;
    }
};

// Every standing subscription has one: it is part of what an idle connection costs.
static_assert(sizeof(void*) != 8 || sizeof(Operation) <= 152);

}  // namespace iocp
