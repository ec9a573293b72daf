#pragma once

#include <string>

// Injects refusals of the system calls that the Linux backends make. The test program's own
// definitions replace those of the C library, without a change of the backends.
namespace iocp::system_calls {

// The calls since refuse_one().
struct Seen {
    unsigned calls{0};      // that could be refused
    bool refused{false};    // one was
    bool more_ways{false};  // there is another error to refuse it with
    std::string name;       // of the call at the place
    int code{0};
};

// Counts the calls of this thread from now on. It refuses the `place`-th of them, from 1 on, with
// the `way`-th of its errors, from 0 on. Each request handed to an io_uring counts as a call.
void refuse_one(unsigned place, unsigned way);
// Refuses every call of this name from now on, in the `way`-th way. It sees requests of an io_uring
// that was made since refuse_one().
void refuse_every(const char* name, unsigned way);
Seen all_again();

}  // namespace iocp::system_calls
