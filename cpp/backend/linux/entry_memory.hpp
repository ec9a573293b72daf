#pragma once

#include <cassert>
#include <cstddef>
#include <memory>
#include <vector>

namespace iocp {

// Memory that the kernel reads when it takes a submission entry: message headers and lists of
// buffers. The memory stays valid, and in its place, until reuse(); its blocks are kept for later
// entries.
class EntryMemory {
public:
    // The size of a block, enough for the largest piece: a message header with IOV_MAX buffers.
    static constexpr std::size_t block_bytes = std::size_t{64} << 10U;

    std::byte* take(std::size_t bytes) {
        assert(bytes <= block_bytes);
        if (blocks_.empty() || used_ + bytes > block_bytes) {
            next_block();
        }
        std::byte* at = blocks_[block_].get() + used_;
        used_ += (bytes + alignment - 1) & ~(alignment - 1);
        return at;
    }
    // Lets new entries use the memory of earlier ones. Precondition: the kernel has taken every
    // entry whose memory came from this EntryMemory.
    void reuse() noexcept {
        block_ = 0;
        used_ = 0;
    }

private:
    static constexpr std::size_t alignment = 16;

    // Goes on to the next block. If memory runs out, throws and changes nothing.
    void next_block() {
        const std::size_t next = blocks_.empty() ? 0 : block_ + 1;
        if (next == blocks_.size()) {
            blocks_.push_back(std::make_unique<std::byte[]>(block_bytes));
        }
        block_ = next;
        used_ = 0;
    }

    // The blocks never move, because entries hold addresses in them.
    std::vector<std::unique_ptr<std::byte[]>> blocks_;
    std::size_t block_{0};  // the block that pieces come from; all before it are full
    std::size_t used_{0};   // bytes of that block; a multiple of the alignment
};

}  // namespace iocp
