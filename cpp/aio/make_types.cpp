#include "aio/make_types.hpp"

#include "aio/handle_object.hpp"
#include "aio/loop_object.hpp"

namespace iocp::aio {

void make_types(PyObject* module, py::Types& types) {
    types.handle = make_handle_type(module);
    if (types.handle != nullptr) {
        types.timer_handle = make_timer_handle_type(module, types.handle);
    }
    if (types.timer_handle != nullptr) {
        types.event_loop = make_event_loop_type(module);
    }
}

}  // namespace iocp::aio
