#pragma once

#include <atomic>
#include <cstdint>

namespace iocp {

// One thread sleeps in a Parker until another thread wakes it. A wake that comes before the sleep
// ends the sleep at once.
class Parker {
public:
    Parker() = default;
    ~Parker();
    Parker(const Parker&) = delete;
    Parker& operator=(const Parker&) = delete;

    void wake() noexcept;
    // Sleeps until a wake, a signal, `interrupt` or the timeout. `interrupt` is a Windows event
    // (HANDLE) or null; Linux ignores it.
    void park(std::int64_t timeout_ns, void* interrupt) noexcept;
    // Forgets earlier wakes, so that they do not end the next sleep.
    void rearm() noexcept { woken_.store(0); }

private:
    std::atomic<std::uint32_t> woken_{0};
    std::atomic<void*> event_{nullptr};  // Windows only; created by the first sleep
};

}  // namespace iocp
