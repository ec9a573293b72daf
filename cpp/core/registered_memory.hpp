#pragma once

#include <cstddef>
#include <vector>

#include "core/calls.hpp"
#include "ops/ledger.hpp"

namespace iocp {

// The memory that the kernel keeps locked while it is registered (R06). The budget counts it once,
// so that operations on it are not charged.
class RegisteredMemory {
public:
    RegisteredMemory(MemoryBackend& backend, const Calls& calls, Ledger& ledger)
        : backend_(&backend), calls_(calls), ledger_(ledger) {}
    ~RegisteredMemory();
    RegisteredMemory(const RegisteredMemory&) = delete;
    RegisteredMemory& operator=(const RegisteredMemory&) = delete;

    // Allocates at least `bytes` of zeroed, page-aligned memory and registers it with the kernel.
    Error add(std::size_t bytes, std::byte*& out);
    // Marks the memory unwanted. Precondition: no operation uses it. Only the thread that runs the
    // port may ask the kernel to release it, so free_unwanted() does that.
    void remove(const std::byte* data) noexcept;
    void free_unwanted() noexcept;
    [[nodiscard]] bool contains(const std::byte* data, std::size_t length) const noexcept;
    // Forgets the backend, which is about to end: the kernel then releases all registered memory
    // with it.
    void release_backend() noexcept;

private:
    struct Block {
        std::byte* data;
        std::size_t length;  // whole pages
        bool unwanted;       // to be freed by the thread that runs the port
    };

    MemoryBackend* backend_;  // null once the port has released it
    const Calls& calls_;
    Ledger& ledger_;
    std::vector<Block> blocks_;
};

}  // namespace iocp
