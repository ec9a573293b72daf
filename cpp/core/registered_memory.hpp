#pragma once

#include <cstddef>
#include <vector>

#include "core/calls.hpp"
#include "ops/ledger.hpp"

namespace iocp {

// Memory that is registered with the kernel, which keeps it locked meanwhile (R06). The budget
// counts registered memory once, so operations that use it are not charged.
class RegisteredMemory {
public:
    RegisteredMemory(MemoryBackend& backend, const Calls& calls, Ledger& ledger)
        : backend_(&backend), calls_(calls), ledger_(ledger) {}
    ~RegisteredMemory();
    RegisteredMemory(const RegisteredMemory&) = delete;
    RegisteredMemory& operator=(const RegisteredMemory&) = delete;

    // Allocates at least `bytes` of zeroed, page-aligned memory and registers it with the kernel.
    Error add(std::size_t bytes, std::byte*& out);
    // Marks registered memory as unwanted. Precondition: no operation uses it. free_unwanted()
    // releases it later, because only the thread that runs the port may ask the kernel for that.
    void remove(const std::byte* data) noexcept;
    void free_unwanted() noexcept;
    [[nodiscard]] bool contains(const std::byte* data, std::size_t length) const noexcept {
        return !blocks_.empty() && finds(data, length);  // most ports register nothing
    }
    // Forgets the backend, which was destroyed. With it the kernel has released all registered
    // memory, so the unwanted memory is freed.
    void release_backend() noexcept;

private:
    struct Block {
        std::byte* data;
        std::size_t length;  // whole pages
        bool unwanted;       // to be freed by the thread that runs the port
    };

    [[nodiscard]] bool finds(const std::byte* data, std::size_t length) const noexcept;

    MemoryBackend* backend_;  // null once the port has released it
    const Calls& calls_;
    Ledger& ledger_;
    std::vector<Block> blocks_;
};

}  // namespace iocp
