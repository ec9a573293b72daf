#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/sim/byte_queue.hpp"
#include "backend/sim/memory.hpp"
#include "core/slot_table.hpp"

namespace iocp::sim {

// A run of a stream that is not acknowledged yet: in the send buffer, or in its caller's pages.
struct Chunk {
    std::uint64_t begin{0};
    std::uint64_t end{0};
    const std::byte* memory{nullptr};  // of `begin`; null: in the buffer
    std::uint64_t position{0};         // in the buffer, of `begin`
    SlotId operation;                  // whose pages they are
    std::uint32_t pages{0};

    [[nodiscard]] bool locked() const noexcept { return memory != nullptr; }
};

// The sending half of a connection. It is its own send window: what is neither in the buffer nor in
// locked pages is gone, so nothing leaves it before it is acknowledged (003, 2.2).
class Outgoing {
public:
    // Positions in the stream; acknowledged <= next <= most <= end + 1, where the one is the end.
    std::uint64_t acknowledged{0};
    std::uint64_t next{0};       // to be sent next
    std::uint64_t most{0};       // was sent, at least once, up to here
    std::uint64_t end{0};        // was posted
    std::uint64_t handed{0};     // was given to the transport
    std::uint64_t edge{0};       // the peer has room up to here
    std::uint64_t small_end{0};  // of the last segment that was not full
    bool finished{false};        // nothing follows `end`

    // The bytes of one send: what follows is copied for it.
    void begin_copied_send() { copied_sends_.push_back({end, end}); }
    void copy(const std::byte* data, std::size_t length);
    void lock(const std::byte* data, std::size_t length, SlotId operation, std::uint32_t pages);

    // How far a segment that begins at `position` may reach, and whose memory it is.
    struct Reach {
        std::uint64_t end{0};
        bool locked{false};
    };
    [[nodiscard]] Reach reach(std::uint64_t position) const noexcept;
    // Copies a part of the stream that is not acknowledged yet.
    void read(std::uint64_t position, std::size_t length, std::byte* out) const noexcept;
    // Lets go of everything before `position`; the pages that are free again.
    std::uint32_t acknowledge(std::uint64_t position);
    // Takes the caller's memory from `begin` on out of the stream: what was sent is copied, the
    // rest is forgotten. The pages that are free again.
    std::uint32_t cut(std::uint64_t begin);

    [[nodiscard]] std::size_t buffered() const noexcept { return buffer_.size(); }
    // Bytes of the copied sends of which any byte is not acknowledged.
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
    std::size_t copied_{0};  // bytes of them
    ByteQueue buffer_;
};

}  // namespace iocp::sim
