#include "backend/windows/object_wait.hpp"

namespace iocp {

void CALLBACK ObjectWait::signalled(void* self, BOOLEAN /*timed_out*/) {
    auto& wait = *static_cast<ObjectWait*>(self);
    wait.signalled_.store(wait.port_.announce(wait.request_));
}

DWORD ObjectWait::start(HANDLE object) noexcept {
    return ::RegisterWaitForSingleObject(&registration_, object, signalled, this, INFINITE,
                                         WT_EXECUTEONLYONCE) != FALSE
               ? 0
               : ::GetLastError();
}

// Waits until no callback runs: each writes to this object and to the port, and takes no lock.
void ObjectWait::stop() noexcept {
    if (registration_ != nullptr) {
        (void)::UnregisterWaitEx(registration_, INVALID_HANDLE_VALUE);
        registration_ = nullptr;
    }
}

void ObjectWait::cancel() noexcept {
    stop();
    if (!signalled_.load() && !cancelled_) {
        cancelled_ = port_.announce(request_);
    }
}

int ObjectWait::is_signalled(HANDLE object) noexcept {
    switch (::WaitForSingleObject(object, 0)) {
        case WAIT_FAILED:
            return -static_cast<int>(::GetLastError());
        case WAIT_TIMEOUT:
            return 0;
        default:
            return 1;
    }
}

}  // namespace iocp
