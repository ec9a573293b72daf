#include "bindings/interrupt_event.hpp"

namespace iocp::py {

// Linux needs no event, because a signal ends epoll_pwait(2) and io_uring_enter(2).
void* interrupt_event() noexcept { return nullptr; }

}  // namespace iocp::py
