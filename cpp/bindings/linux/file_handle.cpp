#include "bindings/file.hpp"

namespace iocp::py {

bool handle_of_descriptor(int descriptor, Handle& out) {
    out = descriptor;
    return true;
}

}  // namespace iocp::py
