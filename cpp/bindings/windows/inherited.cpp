#include "bindings/inherited.hpp"

namespace iocp::py {

void close_inherited(Handle /*handle*/) noexcept {}  // no process forks here

}  // namespace iocp::py
