#pragma once

#include <cstdint>

#include "base/process.hpp"
#include "bindings/compat.hpp"

namespace iocp::py {

// A mutex between threads that are attached to the interpreter. Without a GIL it is a PyMutex. With
// a GIL it does nothing, because only one thread is attached. A forked child never locks a mutex of
// its parent, because a thread that the fork did not copy may hold that mutex for ever.
class AttachedMutex {
public:
#ifdef Py_GIL_DISABLED
    void lock() noexcept {
        if (generation_ == iocp::fork_generation()) {
            PyMutex_Lock(&mutex_);
        }
    }
    void unlock() noexcept {
        if (generation_ == iocp::fork_generation()) {
            PyMutex_Unlock(&mutex_);
        }
    }

private:
    PyMutex mutex_{};
    std::uint32_t generation_{iocp::fork_generation()};
#else
    void lock() noexcept {}
    void unlock() noexcept {}
#endif
};

}  // namespace iocp::py
