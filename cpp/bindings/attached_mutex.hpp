#pragma once

#include <cstdint>

#include "base/process.hpp"
#include "bindings/compat.hpp"

namespace iocp::py {

// Excludes other attached threads where there is no GIL; does nothing with one. A child never takes
// it, because a thread that the fork did not copy may hold it for ever.
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
