#pragma once

#include <string>

// The system's calls that the Linux backends make, where a test lets one of them refuse. They are
// defined over the C library's, in the test program itself: the backends know nothing of it.
namespace iocp::system_calls {

// What became of the calls since refuse_one().
struct Seen {
    unsigned calls{0};      // that could be refused
    bool refused{false};    // one was
    bool more_ways{false};  // it could have been refused with another error
    std::string name;       // of the one at the place
    int code{0};
};

// From here on the calls of this thread are counted, and the `place`-th of them, from 1 on, is
// refused with the `way`-th error that it may give, from 0 on. What is handed to an io_uring counts
// as a call of its own for each request.
void refuse_one(unsigned place, unsigned way);
// From here on every call of this name is refused in the `way`-th way. Requests of an io_uring are
// seen if it was made since refuse_one().
void refuse_every(const char* name, unsigned way);
Seen all_again();

}  // namespace iocp::system_calls
