#include "bindings/port_object.hpp"

#include <cerrno>

#include "base/process.hpp"
#include "bindings/dispatch.hpp"
#include "bindings/errors.hpp"
#include "bindings/hand_over.hpp"
#include "bindings/interrupt_event.hpp"
#include "bindings/links.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/posted_packet.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/timer_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

PortObject::PortObject(Types* made_types, PyObject* reference, const PortOptions& options,
                       const std::string& name)
    : types(made_types),
      types_reference(Py_NewRef(reference)),
      pool(BufferPool::create(system_page_size(), options.region_size, options.region_limit)) {
    auto backend = make_backend(name, *pool, options.backend, backend_reason);
    if (backend == nullptr) {
        closed = true;
        return;
    }
    backend_name = backend->name();
    backend->wake_on(interrupt_event());
    core = std::make_unique<Port>(options, *pool, std::move(backend));
    core->set_listener(*this);
}

PortObject::~PortObject() {
    clear();
    Py_XDECREF(error_handler);
    if (core != nullptr && (forked() || !closed)) {
        // Leaks the core. In a forked child its io_uring ring is the parent's. In any other process
        // another thread's ring may still write to the core's memory.
        (void)core.release();
    } else {
        core.reset();
        pool->close();
    }
    Py_DECREF(types_reference);
}

int PortObject::traverse(visitproc visit, void* arg) const {
    Py_VISIT(error_handler);
    for (PyObject* completion : unclaimed) {
        Py_VISIT(completion);
    }
    for (OperationObject* op = operations.first; op != nullptr; op = op->links.next) {
        Py_VISIT(reinterpret_cast<PyObject*>(op));
    }
    for (SocketObject* socket = sockets.first; socket != nullptr; socket = socket->links.next) {
        Py_VISIT(reinterpret_cast<PyObject*>(socket));
    }
    for (TimerObject* timer = timers.first; timer != nullptr; timer = timer->links.next) {
        Py_VISIT(reinterpret_cast<PyObject*>(timer));
    }
    for (PostedPacket* packet = packets.first; packet != nullptr; packet = packet->links.next) {
        Py_VISIT(packet->value);
        Py_VISIT(packet->callback);
    }
    return 0;
}

// Ends the port and drops its objects without calling the application's code, because the port is
// closed or is being garbage-collected. Keeps all memory that the kernel may write to until the
// kernel has given it back.
void PortObject::clear() {
    if (core == nullptr) {
        return;
    }
    const auto any = [](const auto& /*item*/) { return true; };
    if (forked()) {
        // The sockets close the child's copies of their descriptors.
        while (SocketObject* socket = unlink_any(*this, sockets, any)) {
            Py_DECREF(reinterpret_cast<PyObject*>(socket));
        }
        return;
    }
    if (!closed) {
        if (!core->terminate()) {
            return;
        }
        locked(*this, [this] {
            mark_closed();
            return 0;
        });
    }
    std::vector<PyObject*> dropped;
    {
        const std::lock_guard guard(links_mutex);
        dropped.swap(unclaimed);
    }
    for (PyObject* completion : dropped) {
        Py_DECREF(completion);
    }
    (void)hand_over(*this);
    std::vector<Ready> rest;
    locked(*this, [&] {
        core->take_ready(rest);
        return 0;
    });
    while (!inbox.empty()) {
        Ready ready = inbox.take();
        drop(ready);
    }
    for (Ready& ready : rest) {
        drop(ready);
    }
    rest.clear();
    retire_handed_out(*this, retired);
    end_timers();
    // A packet that the core has not accepted still belongs to the thread that posts it.
    while (PostedPacket* packet = unlink_any(
               *this, packets, [](const PostedPacket& one) { return one.accepted.load(); })) {
        delete packet;
    }
    while (OperationObject* op = unlink_any(*this, operations, any)) {
        Py_DECREF(reinterpret_cast<PyObject*>(op));
    }
    while (SocketObject* socket = unlink_any(*this, sockets, any)) {
        Py_DECREF(reinterpret_cast<PyObject*>(socket));
    }
}

// Stops and drops every timer. If another thread takes a timer from the list at the same time, or
// has not armed it yet, that thread drops it.
void PortObject::end_timers() {
    std::vector<TimerObject*> all;
    {
        const std::lock_guard guard(links_mutex);
        for (TimerObject* timer = timers.first; timer != nullptr; timer = timer->links.next) {
            Py_INCREF(reinterpret_cast<PyObject*>(timer));
            all.push_back(timer);
        }
    }
    for (TimerObject* timer : all) {
        (void)stop_timer(*this, *timer);
        Py_DECREF(reinterpret_cast<PyObject*>(timer));
    }
}

// Drops a record that will not be handed out.
void PortObject::drop(Ready& ready) {
    switch (ready.what) {
        case Ready::What::completed: {
            auto* op = object_of<OperationObject>(*this, ready.op->user);
            conclude(*this, *ready.op, op);
            Py_XDECREF(reinterpret_cast<PyObject*>(op));
            retired.add(*ready.op);
            break;
        }
        case Ready::What::closed: {
            auto* socket = object_of<SocketObject>(*this, ready.socket->user);
            if (socket != nullptr) {
                socket->ending = true;
                socket->subscribed = 0;
            }
            cut_from_core<SocketObject>(*this, *ready.socket);
            Py_XDECREF(reinterpret_cast<PyObject*>(socket));
            retired.add(*ready.socket);
            break;
        }
        case Ready::What::timer:
            if (TimerObject* timer = take_fired(*this, *ready.timer)) {
                give_up(*this, timers, *timer);
            }
            break;
        case Ready::What::resumed: {
            Ready kept;
            while (core->sockets().take_withheld(*ready.socket, kept)) {
                drop(kept);
            }
            break;
        }
        case Ready::What::data:
        case Ready::What::datagram:
        case Ready::What::accepted:
        case Ready::What::pause_sends:
        case Ready::What::resume_sends:
        case Ready::What::item_error:
        case Ready::What::ended:
        case Ready::What::packet:
        case Ready::What::nagle_stall:
            break;  // a slice frees its memory itself; packets and sockets are in the port's lists
    }
}

bool usable(PortObject& port) {
    if (port.forked()) {
        raise(*port.types, ErrorClass::forked, EPERM,
              "this port was made before the fork and belongs to the parent process; make a new "
              "one in the child");
        return false;
    }
    if (port.closed) {
        raise(*port.types, ErrorClass::port_closed, EBADF, "the port is closed; make a new one");
        return false;
    }
    return true;
}

}  // namespace iocp::py
