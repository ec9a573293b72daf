#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/room.hpp"
#include "bindings/attached_mutex.hpp"
#include "bindings/call_watch.hpp"
#include "bindings/linked_list.hpp"
#include "bindings/retired.hpp"
#include "bindings/types.hpp"
#include "core/port.hpp"
#include "run/locked.hpp"
#include "run/runnable_port.hpp"

namespace iocp::py {

struct OperationObject;
struct PostedPacket;
struct SocketObject;
struct TimerObject;

// The C++ value of the Python object Port.
struct PortObject final : CompletionListener, run::RunnablePort {
    PortObject(Types* made_types, PyObject* types_reference, const PortOptions& options,
               const std::string& backend_name);
    ~PortObject() override;
    PortObject(const PortObject&) = delete;
    PortObject& operator=(const PortObject&) = delete;
    // Always raises TypeError. pybind11 calls this operator for an object whose __init__() has not
    // run, and would use the raw memory.
    static void* operator new(std::size_t bytes);
    static void operator delete(void* made) { ::operator delete(made); }

    PyObject* self{nullptr};  // the Port that owns this value; borrowed, set before any other use
    Types* types;
    PyObject* types_reference;
    BufferPool* pool{nullptr};
    std::string backend_name;
    BackendReason backend_reason;
    bool takes_routines{false};        // a thread's own port: its sockets count as attached to none
    std::vector<PyObject*> unclaimed;  // completions kept for get() by waits and failed calls
    Retired retired;                   // slots of the records that clear() drops
    PyObject* error_handler{nullptr};
    bool closes_on_error{true};  // a callback that raises closes its connection
    // Only KeyboardInterrupt and SystemExit pass to the caller of a turn, as in an event loop.
    // Otherwise every exception that is no subclass of Exception does.
    bool only_exits_pass{false};
    CallWatch* call_watch{nullptr};  // of the runner's dispatch, or null
    // The receive buffer that the system reports after it was set to 0; negative while no socket of
    // the port had it set to 0.
    std::atomic<int> min_receive_buffer{-1};
    // Guards the lists, the links between the core and its objects, and the callbacks that objects
    // store. A thread takes this mutex only while it is attached to the interpreter. While it holds
    // the mutex it neither detaches nor calls into Python.
    AttachedMutex links_mutex;
    LinkedList<OperationObject> operations;
    LinkedList<SocketObject> sockets;
    LinkedList<TimerObject> timers;
    LinkedList<PostedPacket> packets;

    bool finished(Operation& op) noexcept override;
    void retain() noexcept override { Py_INCREF(self); }
    void release() noexcept override { Py_DECREF(self); }
    run::PortWorker& worker_of_this_thread() override;
    void after_close() override { clear(); }

    // Reserves memory for a completion that this thread may keep for get().
    void expect_unclaimed() {
        const std::lock_guard guard(links_mutex);
        make_room(unclaimed, 1);
    }
    int traverse(visitproc visit, void* argument) const;
    void clear();
    void drop(Ready& ready);
    void end_timers();
};

// Runs `work` with the port's lock held. `work` never touches Python. If another thread holds the
// lock, this thread detaches before it waits, so that no thread ever waits for a lock while
// attached.
template <class Work>
auto locked(PortObject& port, Work&& work) {
    return run::with_lock(
        port.core->mutex(), [](auto& wait) { detached(wait); }, work);
}

// Returns whether the port can be used. False: an exception is set.
bool usable(PortObject& port);

}  // namespace iocp::py
