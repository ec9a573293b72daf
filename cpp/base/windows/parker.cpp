#include "base/parker.hpp"

#include <windows.h>

namespace iocp {

Parker::~Parker() {
    if (void* event = event_.load()) {
        (void)::CloseHandle(event);
    }
}

void Parker::wake() noexcept {
    woken_.store(1);
    if (void* event = event_.load()) {
        (void)::SetEvent(event);
    }
}

// If no event can be created, sleeps for at most 10 ms, because no wake can end that sleep. Resets
// `interrupt` after it has ended the sleep, because the interpreter's event stays set until it is
// reset.
void Parker::park(std::int64_t timeout_ns, void* interrupt) noexcept {
    if (event_.load() == nullptr) {
        event_.store(::CreateEventW(nullptr, FALSE, FALSE, nullptr));
    }
    if (woken_.load() != 0) {
        return;
    }
    void* const waits[2] = {event_.load(), interrupt};
    const auto milliseconds = static_cast<DWORD>((timeout_ns + 999'999) / 1'000'000);
    if (waits[0] == nullptr) {
        ::Sleep(milliseconds < 10 ? milliseconds : 10);
        return;
    }
    if (::WaitForMultipleObjects(interrupt != nullptr ? 2 : 1, waits, FALSE, milliseconds) ==
        WAIT_OBJECT_0 + 1) {
        (void)::ResetEvent(interrupt);
    }
}

}  // namespace iocp
