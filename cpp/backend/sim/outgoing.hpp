#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/sim/byte_queue.hpp"
#include "backend/sim/memory.hpp"
#include "base/slot_table.hpp"

namespace iocp::sim {

// A run of unacknowledged bytes of a stream, in the send buffer or in the caller's pages.
struct Chunk {
    std::uint64_t begin{0};
    std::uint64_t end{0};
    const std::byte* memory{nullptr};  // address of the byte `begin`; null: in the buffer
    std::uint64_t position{0};         // position of `begin` in the buffer
    SlotId operation;                  // the owner of the pages
    std::uint32_t pages{0};

    [[nodiscard]] bool locked() const noexcept { return memory != nullptr; }
};

// The sending half of a connection. The model has no separate send window: only the buffer and
// locked pages hold the bytes, so they stay until they are acknowledged (003, 2.2).
class Outgoing {
public:
    // Positions in the stream. acknowledged <= next <= highest_sent <= end + 1: the end of the
    // stream takes one position.
    std::uint64_t acknowledged{0};
    std::uint64_t next{0};                // the next to send
    std::uint64_t highest_sent{0};        // sent at least once up to here
    std::uint64_t end{0};                 // posted up to here
    std::uint64_t given_to_transport{0};  // up to here; the rest waits in the socket layer
    std::uint64_t window_edge{0};         // the peer has room up to here
    std::uint64_t small_end{0};           // the end of the last segment that was not full
    bool finished{false};                 // nothing follows `end`

    // Begins a send that is copied. The following copy() calls belong to this send.
    void begin_copied_send() { copied_sends_.push_back({end, end}); }
    void copy(const std::byte* data, std::size_t length);
    void lock(const std::byte* data, std::size_t length, SlotId operation, std::uint32_t pages);

    // How far a segment that begins at some position may reach, and whether the memory of its bytes
    // is locked.
    struct Reach {
        std::uint64_t end{0};
        bool locked{false};
    };
    [[nodiscard]] Reach reach(std::uint64_t position) const noexcept;
    // Copies a part of the stream that is not acknowledged yet.
    void read(std::uint64_t position, std::size_t length, std::byte* out) const noexcept;
    // Drops all bytes before `position`. Returns the number of pages that become free.
    std::uint32_t acknowledge(std::uint64_t position);
    // Takes the caller's memory out of the stream from `begin` on: sent bytes are copied to the
    // buffer, the rest is dropped. Returns the number of pages that become free.
    std::uint32_t cut(std::uint64_t begin);

    [[nodiscard]] std::size_t buffered() const noexcept { return buffer_.size(); }
    // Returns the bytes of all copied sends that have any unacknowledged byte.
    [[nodiscard]] std::size_t buffered_sends() const noexcept { return copied_; }
    [[nodiscard]] bool in_flight() const noexcept { return next != acknowledged; }
    [[nodiscard]] bool empty() const noexcept { return chunks_.empty(); }
    [[nodiscard]] std::uint32_t locked_pages(SlotId operation) const noexcept;

private:
    [[nodiscard]] std::size_t find(std::uint64_t position) const noexcept;

    struct CopiedSend {
        std::uint64_t begin{0};
        std::uint64_t end{0};
    };
    Vector<Chunk> chunks_;
    Deque<CopiedSend> copied_sends_;
    std::size_t copied_{0};  // bytes of `copied_sends_`
    ByteQueue buffer_;
};

}  // namespace iocp::sim
