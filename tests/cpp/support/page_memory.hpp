#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "base/process.hpp"

namespace iocp::scripted {

// Blocks of page-aligned memory for the buffers of operations, which live as long as the test.
class PageMemory {
public:
    std::byte* take(std::size_t bytes) {
        return blocks_.emplace_back(static_cast<std::byte*>(::operator new(bytes, alignment())))
            .get();
    }

private:
    static std::align_val_t alignment() { return std::align_val_t{system_page_size()}; }
    struct Free {
        void operator()(std::byte* memory) const { ::operator delete(memory, alignment()); }
    };

    std::vector<std::unique_ptr<std::byte, Free>> blocks_;
};

}  // namespace iocp::scripted
