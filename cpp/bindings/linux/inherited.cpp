#include "bindings/inherited.hpp"

#include <unistd.h>

namespace iocp::py {

void close_inherited(Handle handle) noexcept {
    if (handle != no_handle) {
        (void)::close(static_cast<int>(handle));
    }
}

}  // namespace iocp::py
