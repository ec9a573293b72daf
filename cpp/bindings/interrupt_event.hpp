#pragma once

namespace iocp::py {

// An event of the system that is set when the interpreter is interrupted (Ctrl-C), where the
// system's waits do not end by themselves then; null where they do.
void* interrupt_event() noexcept;

}  // namespace iocp::py
