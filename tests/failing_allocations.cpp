// Loaded before the program: lets one allocation fail, of C++ code or of the interpreter's, in the
// thread that asked for it. Compiled by test_memory.py.
#include <Python.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

thread_local bool counting = false;
int wanted_kind = 0;  // 0: operator new, 1: the interpreter's allocators
unsigned wanted_first = 0;
unsigned wanted_last = 0;
unsigned seen = 0;
PyMemAllocatorEx original[3];

bool fails(int kind) noexcept {
    if (!counting || kind != wanted_kind) {
        return false;
    }
    ++seen;
    return seen >= wanted_first && seen <= wanted_last;
}

void* allocate(std::size_t bytes) {
    void* memory = fails(0) ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

void* allocate(std::size_t bytes, std::align_val_t alignment) {
    const auto border = static_cast<std::size_t>(alignment);
    void* memory =
        fails(0) ? nullptr : std::aligned_alloc(border, (bytes + border - 1) / border * border);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

const PyMemAllocatorEx& original_of(void* context) {
    return *static_cast<const PyMemAllocatorEx*>(context);
}
void* take(void* context, std::size_t bytes) {
    const PyMemAllocatorEx& next = original_of(context);
    return fails(1) ? nullptr : next.malloc(next.ctx, bytes);
}
void* take_zeroed(void* context, std::size_t count, std::size_t bytes) {
    const PyMemAllocatorEx& next = original_of(context);
    return fails(1) ? nullptr : next.calloc(next.ctx, count, bytes);
}
void* resize(void* context, void* memory, std::size_t bytes) {
    const PyMemAllocatorEx& next = original_of(context);
    return fails(1) ? nullptr : next.realloc(next.ctx, memory, bytes);
}
void give_back(void* context, void* memory) {
    const PyMemAllocatorEx& next = original_of(context);
    next.free(next.ctx, memory);
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void* operator new(std::size_t bytes, std::align_val_t border) { return allocate(bytes, border); }
void* operator new[](std::size_t bytes, std::align_val_t border) { return allocate(bytes, border); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*bytes*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t /*bytes*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t /*border*/) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t /*border*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*bytes*/, std::align_val_t /*border*/) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t /*bytes*/, std::align_val_t /*border*/) noexcept {
    std::free(memory);
}

extern "C" {

// With the interpreter attached, before anything fails.
void watch_interpreter() {
    const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    for (int i = 0; i < 3; ++i) {
        PyMem_GetAllocator(domains[i], &original[i]);
        PyMemAllocatorEx hook = {&original[i], take, take_zeroed, resize, give_back};
        PyMem_SetAllocator(domains[i], &hook);
    }
}

// From here on this thread's allocations of that kind count: the `first`-th fails, and the
// `length` - 1 after it.
void fail(int kind, unsigned first, unsigned length) {
    wanted_kind = kind;
    wanted_first = first;
    wanted_last = first + length - 1;
    seen = 0;
    counting = true;
}

// How many counted.
unsigned all_again() {
    counting = false;
    return seen;
}

}  // extern "C"
