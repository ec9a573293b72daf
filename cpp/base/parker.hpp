#pragma once

#include <atomic>
#include <cstdint>

namespace iocp {

// The place where one thread sleeps until another wakes it. A wake before the sleep ends it at
// once.
class Parker {
public:
    Parker() = default;
    ~Parker();
    Parker(const Parker&) = delete;
    Parker& operator=(const Parker&) = delete;

    void wake() noexcept;
    // Sleeps until a wake, a signal, `interrupt` or the timeout. `interrupt` is an event of the
    // system, or null.
    void park(std::int64_t timeout_ns, void* interrupt) noexcept;
    // Forgets earlier wakes.
    void rearm() noexcept { woken_.store(0); }

private:
    std::atomic<std::uint32_t> woken_{0};
    std::atomic<void*> event_{nullptr};  // Windows only; created by the first sleep
};

}  // namespace iocp
