#pragma once

#include <pybind11/pybind11.h>

#include "bindings/pickling.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

const Types& types_of_module();

// Raises ArgumentTypeError with `usage`, the right form of the call.
[[noreturn]] void refuse_call(const char* usage);

// The last overload of a function bound with pybind11, for arguments that no other overload takes.
// pybind11's own message prints the arguments, and ends the process at a keyword that is not UTF-8.
inline auto otherwise(const char* usage) {
    return [usage](const pybind11::args& /*given*/, const pybind11::kwargs& /*named*/) {
        refuse_call(usage);
    };
}

// The __reduce__ of the classes that pybind11 binds. Raises TypeError, because they cannot be
// pickled.
inline void no_reduction(const pybind11::object& self) {
    (void)refuse_pickling(self.ptr(), nullptr);
    throw pybind11::error_already_set();
}

}  // namespace iocp::py
