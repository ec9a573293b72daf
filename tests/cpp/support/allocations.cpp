// Replaces every form of operator new that the library uses.
#include "allocations.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(_WIN32)
#include <malloc.h>
#endif

namespace iocp::allocations {

namespace {

thread_local bool counting = false;
unsigned first = 0;
unsigned last = 0;
unsigned seen = 0;
bool refused = false;

bool fails() noexcept {
    if (!counting || first == 0) {
        return false;
    }
    ++seen;
    const bool now = seen >= first && seen <= last;
    refused = refused || now;
    return now;
}

void* allocate(std::size_t bytes) noexcept {
    return fails() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
}

void* allocate(std::size_t bytes, std::align_val_t alignment) noexcept {
    if (fails()) {
        return nullptr;
    }
    const auto border = static_cast<std::size_t>(alignment);
#if defined(_WIN32)
    return ::_aligned_malloc(bytes, border);
#else
    return std::aligned_alloc(border, (bytes + border - 1) / border * border);
#endif
}

void release(void* memory, std::align_val_t /*alignment*/) noexcept {
#if defined(_WIN32)
    ::_aligned_free(memory);
#else
    std::free(memory);
#endif
}

void* or_throw(void* memory) {
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

}  // namespace

Counted::Counted() noexcept { counting = true; }
Counted::~Counted() { counting = false; }

void fail(unsigned place, unsigned length) noexcept {
    first = place;
    last = place + length - 1;
    seen = 0;
    refused = false;
}

unsigned all_again() noexcept {
    first = 0;
    return seen;
}

bool failed() noexcept { return refused; }

}  // namespace iocp::allocations

namespace memory = iocp::allocations;

void* operator new(std::size_t bytes) { return memory::or_throw(memory::allocate(bytes)); }
void* operator new[](std::size_t bytes) { return memory::or_throw(memory::allocate(bytes)); }
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
    return memory::allocate(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
    return memory::allocate(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return memory::or_throw(memory::allocate(bytes, alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return memory::or_throw(memory::allocate(bytes, alignment));
}
void* operator new(std::size_t bytes, std::align_val_t alignment,
                   const std::nothrow_t& /*tag*/) noexcept {
    return memory::allocate(bytes, alignment);
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*bytes*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*bytes*/) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t& /*tag*/) noexcept { std::free(memory); }
void operator delete(void* at, std::align_val_t alignment) noexcept {
    memory::release(at, alignment);
}
void operator delete[](void* at, std::align_val_t alignment) noexcept {
    memory::release(at, alignment);
}
void operator delete(void* at, std::size_t /*bytes*/, std::align_val_t alignment) noexcept {
    memory::release(at, alignment);
}
void operator delete[](void* at, std::size_t /*bytes*/, std::align_val_t alignment) noexcept {
    memory::release(at, alignment);
}
void operator delete(void* at, std::align_val_t alignment, const std::nothrow_t& /*tag*/) noexcept {
    memory::release(at, alignment);
}
