#pragma once

#include <atomic>

namespace iocp::py {

// The pointer from a Python object to its counterpart in the core. Writing it requires the port's
// `links_mutex`. A pointer that get() returned stays valid while the caller holds links_mutex or
// the port's lock, because a slot is retired with the port's lock held, after its link was cut. A
// second get() may return null, so a caller keeps what the first get() returned.
template <class T>
class CoreSide {
public:
    [[nodiscard]] T* get() const noexcept { return at_.load(std::memory_order_acquire); }
    void set(T* core) noexcept { at_.store(core, std::memory_order_release); }
    [[nodiscard]] bool linked() const noexcept { return get() != nullptr; }

private:
    std::atomic<T*> at_;
};

}  // namespace iocp::py
