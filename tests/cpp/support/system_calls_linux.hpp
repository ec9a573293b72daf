#pragma once

#include <string>

// Injects refusals of the system calls that the Linux backends make. The test program's own
// definitions replace those of the C library, so the backends need no change.
namespace iocp::system_calls {

// The replaced calls since the latest call of refuse_one() or refuse_every().
struct Seen {
    unsigned calls{0};      // number of calls that could be refused
    bool refused{false};    // whether a call was refused
    bool more_ways{false};  // the refused call has further errors
    std::string name;       // of the last refused call
    int code{0};
};

// Starts to count this thread's calls. Refuses the `place`-th of them, counted from 1, with the
// `way`-th of its errors, counted from 0. Each receive, send and poll handed to an io_uring counts
// as a call, if this thread made the ring while its calls were counted. Forgets the rings that it
// made before.
void refuse_one(unsigned place, unsigned way);
// Refuses every call of this name from now on, with the `way`-th of its errors. To refuse requests
// to an io_uring, a test calls refuse_one(0, 0), which refuses nothing, before it makes the ring.
void refuse_every(const char* name, unsigned way);
Seen all_again();

}  // namespace iocp::system_calls
