#pragma once

#include <atomic>
#include <cstdint>

namespace iocp {

// Where one thread sleeps until another wakes it; a wake that comes before the sleep ends it.
class Parker {
public:
    Parker() = default;
#ifdef _WIN32
    ~Parker();
#else
    ~Parker() = default;
#endif
    Parker(const Parker&) = delete;
    Parker& operator=(const Parker&) = delete;

    void wake() noexcept;
    // Until a wake, a signal or `interrupt`, an event of the system (null: none), or so many
    // nanoseconds.
    void park(std::int64_t timeout_ns, void* interrupt) noexcept;
    // Forgets a wake.
    void rearm() noexcept { woken_.store(0); }

private:
    std::atomic<std::uint32_t> woken_{0};
    std::atomic<void*> event_{nullptr};  // Windows: made by the first sleep
};

}  // namespace iocp
