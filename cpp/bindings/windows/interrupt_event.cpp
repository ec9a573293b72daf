#include "bindings/interrupt_event.hpp"

// Exported by every CPython for the standard library's own extension modules; set after the signal
// has been noted, never reset by the interpreter.
extern "C" __declspec(dllimport) void* _PyOS_SigintEvent(void);

namespace iocp::py {

void* interrupt_event() noexcept { return _PyOS_SigintEvent(); }

}  // namespace iocp::py
