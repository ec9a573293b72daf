#pragma once

namespace iocp::py {

// Returns the system's event that is set when the interpreter is interrupted (Ctrl-C). Null where
// an interrupt ends the system's waits by itself.
void* interrupt_event() noexcept;

}  // namespace iocp::py
