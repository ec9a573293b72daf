#include "backend/windows/interrupt_wait.hpp"

namespace iocp {

// Waits until no callback runs, because a callback writes to this InterruptWait and to the
// completion port.
InterruptWait::~InterruptWait() {
    if (registration_ != nullptr) {
        (void)::UnregisterWaitEx(registration_, INVALID_HANDLE_VALUE);
    }
}

void CALLBACK InterruptWait::interrupted(void* self, BOOLEAN /*timed_out*/) {
    auto& wait = *static_cast<InterruptWait*>(self);
    wait.seen_.store(true);
    wait.port_.wake();
}

void InterruptWait::renew() noexcept {
    if (event_ == nullptr) {
        return;
    }
    if (registration_ != nullptr) {
        if (!seen_.exchange(false)) {
            return;
        }
        (void)::UnregisterWaitEx(registration_, INVALID_HANDLE_VALUE);
        registration_ = nullptr;
        (void)::ResetEvent(event_);
    }
    (void)::RegisterWaitForSingleObject(&registration_, event_, interrupted, this, INFINITE,
                                        WT_EXECUTEONLYONCE);
}

}  // namespace iocp
