// StreamBase: the subscription of a transport.
#include "aio/stream_object.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/port_object.hpp"
#include "bindings/socket_methods.hpp"
#include "bindings/subscribe.hpp"
#include "bindings/unposted_receive.hpp"

namespace iocp::aio {

using py::guarded;
using py::Held;

namespace {

// _subscribe(strategy): receives for the transport from here on.
PyObject* subscribe(PyObject* self, PyObject* strategy) {
    const Held core(open_core(self));
    if (core.get() == nullptr) {
        Py_RETURN_NONE;
    }
    py::SocketObject& socket = *socket_in(core);
    const py::Types& types = *socket.binding->types;
    py::Post what;
    what.kind = OperationKind::receive_each;
    what.block_size = 4096;
    if (!py::to_strategy(types, strategy, what.strategy) || !py::usable(*socket.binding) ||
        !py::warn_before_strategy(socket, what.strategy)) {
        return nullptr;
    }
    // The Operation may go: the subscription ends by _unsubscribe().
    const Held operation(py::subscribe(socket, what, self, self, nullptr));
    if (operation.get() == nullptr) {
        return nullptr;
    }
    fields_of(self).subscribed = 1;
    Py_RETURN_NONE;
}

// _unsubscribe(): asks for the end of the subscription, if there is one.
PyObject* unsubscribe(PyObject* self, PyObject* /*unused*/) {
    const Held core(open_core(self));
    if (core.get() == nullptr || fields_of(self).subscribed == 0) {
        Py_RETURN_NONE;
    }
    py::SocketObject& socket = *socket_in(core);
    py::PortObject& port = *socket.binding;
    if (!port.usable()) {
        Py_RETURN_NONE;
    }
    py::locked(port, [&] {
        Socket* target = socket.core.get();
        Operation* last = target != nullptr ? target->receiving.tail : nullptr;
        if (last != nullptr && last->subscription()) {
            (void)port.core->operations().cancel(*last);
        }
        return 0;
    });
    Py_RETURN_NONE;
}

// _keep_while_busy(): asks again whether the port keeps the transport.
PyObject* keep(PyObject* self, PyObject* /*unused*/) {
    const Held core(open_core(self));
    if (core.get() != nullptr) {
        keep_while_busy(self, *socket_in(core));
    }
    Py_RETURN_NONE;
}

}  // namespace

PyMethodDef stream_reading_methods[] = {
    {"_subscribe", guarded<subscribe>, METH_O, nullptr},
    {"_unsubscribe", guarded<unsubscribe>, METH_NOARGS, nullptr},
    {"_keep_while_busy", guarded<keep>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::aio
