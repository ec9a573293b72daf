#include "bindings/interrupt_event.hpp"

// CPython exports this function for the standard library's extension modules. The interpreter sets
// the event after it has noted the signal, and never resets it.
extern "C" __declspec(dllimport) void* _PyOS_SigintEvent(void);

namespace iocp::py {

void* interrupt_event() noexcept { return _PyOS_SigintEvent(); }

}  // namespace iocp::py
