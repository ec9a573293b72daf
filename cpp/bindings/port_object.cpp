#include <cerrno>

#include "bindings/interrupt_event.hpp"
#include "bindings/objects.hpp"

namespace iocp::py {

PortObject::PortObject(Types* made_types, PyObject* reference, const PortOptions& options,
                       const std::string& name)
    : types(made_types),
      types_reference(Py_NewRef(reference)),
      pool(BufferPool::create(system_page_size(), options.region_size, options.region_limit)),
      fork_generation(iocp::fork_generation()) {
    auto backend = make_backend(name, *pool, options.backend, backend_reason);
    if (backend == nullptr) {
        closed = true;
        return;
    }
    backend_name = backend->name();
    backend->wake_on(interrupt_event());
    core = std::make_unique<Port>(options, *pool, std::move(backend));
    core->set_audience(*this);
}

PortObject::~PortObject() {
    clear();
    Py_XDECREF(error_handler);
    if (core != nullptr && (forked() || !closed)) {
        // In a child the ring is the parent's; elsewhere another thread's ring may still write.
        // Either way the memory stays: a leak is the lesser evil.
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

// Ends everything without a word to the application: the port is being collected, or is closed.
// Nothing the kernel may still write to is given back before the kernel has given it back.
void PortObject::clear() {
    if (core == nullptr || forked()) {
        return;
    }
    if (!closed) {
        if (!core->terminate()) {
            return;
        }
        closed = true;
        core->release_backend();
    }
    for (PyObject* completion : std::exchange(unclaimed, {})) {
        Py_DECREF(completion);
    }
    (void)hand_over(*this);
    std::vector<Ready> rest;
    {
        const std::lock_guard lock(core->mutex());
        core->take_ready(rest);
    }
    for (std::size_t i = next_ready; i < inbox.size(); ++i) {
        drop(inbox[i]);
    }
    inbox.clear();
    next_ready = 0;
    for (Ready& ready : rest) {
        drop(ready);
    }
    rest.clear();
    retire_handed_out(*this, retired);
    const auto each = [](auto& list, auto&& give_up) {
        while (list.first != nullptr) {
            auto& item = *list.first;
            list.remove(item);
            give_up(item);
        }
    };
    each(timers, [this](TimerObject& timer) {
        Timer* armed = std::exchange(timer.core, nullptr);
        if (armed != nullptr) {
            (void)core->cancel_call(armed);
        }
        Py_DECREF(reinterpret_cast<PyObject*>(&timer));
    });
    PostedPacket* packet = std::exchange(packets.first, nullptr);
    while (packet != nullptr) {
        PostedPacket* next = packet->links.next;
        Py_DECREF(packet->value);
        Py_XDECREF(packet->callback);
        delete packet;
        packet = next;
    }
    each(operations, [](OperationObject& op) { Py_DECREF(reinterpret_cast<PyObject*>(&op)); });
    each(sockets, [](SocketObject& socket) { Py_DECREF(reinterpret_cast<PyObject*>(&socket)); });
}

// The end of a record that nobody will hear of.
void PortObject::drop(Ready& ready) {
    switch (ready.what) {
        case Ready::What::completed: {
            auto* op = static_cast<OperationObject*>(ready.op->user);
            if (op != nullptr) {
                settle(*op);
                op->core = nullptr;
            }
            ready.op->lease.give_back();
            ready.op->user = nullptr;
            retired.operations.push_back(ready.op);
            break;
        }
        case Ready::What::closed: {
            auto* socket = static_cast<SocketObject*>(ready.socket->user);
            if (socket != nullptr) {
                socket->core = nullptr;
                socket->ending = true;
                socket->subscribed = false;
            }
            ready.socket->user = nullptr;
            retired.sockets.push_back(ready.socket);
            break;
        }
        case Ready::What::timer: {
            auto* timer = static_cast<TimerObject*>(ready.timer->target);
            if (timer != nullptr) {
                timer->core = nullptr;
            }
            Port::retire(ready.timer);
            break;
        }
        case Ready::What::data:
        case Ready::What::datagram:
        case Ready::What::accepted:
        case Ready::What::pause_sends:
        case Ready::What::resume_sends:
        case Ready::What::item_error:
        case Ready::What::packet:
        case Ready::What::nagle_stall:
            break;  // slices free themselves; packets and sockets are in their lists
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
