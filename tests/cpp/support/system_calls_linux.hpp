#pragma once

#include <string>

// Injects refusals of the system calls that the Linux backends make. The test program's own
// definitions replace those of the C library, so the backends need no change.
namespace iocp::system_calls {

// What the replaced calls have seen since refuse_one() or refuse_every().
struct Seen {
    unsigned calls{0};      // number of calls that could be refused
    bool refused{false};    // whether a call was refused
    bool more_ways{false};  // the refused call has further errors
    std::string name;       // of the last refused call
    int code{0};
};

// Starts to count this thread's calls. Refuses the `place`-th of them, counted from 1, with the
// `way`-th of its errors, counted from 0. Each receive, send and poll handed to an io_uring counts
// as a call.
void refuse_one(unsigned place, unsigned way);
// Refuses every call of this name from now on, with the `way`-th of its errors. Requests to an
// io_uring are refused only if the ring was made since refuse_one().
void refuse_every(const char* name, unsigned way);
Seen all_again();

}  // namespace iocp::system_calls
