#include "bindings/thread_worker.hpp"

#include <pybind11/pybind11.h>

#include <cassert>
#include <list>
#include <memory>

#include "base/process.hpp"
#include "bindings/held.hpp"
#include "bindings/host.hpp"
#include "bindings/port_object.hpp"

namespace iocp::py {

namespace {

constexpr const char* capsule_name = "iocp_sock.workers";

// The worker objects of one thread, one for each shared port that the thread runs. The thread's
// dictionary keeps them.
struct ThreadWorkers {
    std::list<std::unique_ptr<ThreadWorker>> all;
    std::uint32_t fork_generation{iocp::fork_generation()};
};

ThreadWorkers& of_capsule(PyObject* capsule) noexcept {
    return *static_cast<ThreadWorkers*>(PyCapsule_GetPointer(capsule, capsule_name));
}

// Returns a new reference to the worker's port, or null once the port is gone.
PyObject* port_of(const ThreadWorker& mine) noexcept {
#if PY_VERSION_HEX >= 0x030D0000
    PyObject* port = nullptr;
    (void)PyWeakref_GetRef(mine.port, &port);
    return port;
#else
    PyObject* port = PyWeakref_GetObject(mine.port);
    return port != Py_None ? Py_XNewRef(port) : nullptr;
#endif
}

// Ends a worker. If the worker's port still lives, it no longer counts the worker as active.
void end(std::unique_ptr<ThreadWorker> mine) {
    assert(mine->worker.inbox.empty());  // each call has put back what it did not hand out
    PyObject* port = port_of(*mine);
    if (port != nullptr) {
        auto& binding = pybind11::handle(port).cast<PortObject&>();
        if (!binding.forked()) {
            locked(binding, [&] {
                binding.core->workers().leave(mine->worker.worker);
                return 0;
            });
        }
        Py_DECREF(port);
    }
    Py_DECREF(mine->port);
}

// Destroys the workers of a thread. Runs when the thread ends; for a daemon thread, when the
// interpreter ends.
void thread_ended(PyObject* capsule) {
    const std::unique_ptr<ThreadWorkers> workers(&of_capsule(capsule));
    for (auto& mine : workers->all) {
        if (mine->worker.inside || workers->fork_generation != iocp::fork_generation()) {
            (void)mine.release();  // a thread that never returns may still use the worker
        } else {
            end(std::move(mine));
        }
    }
}

ThreadWorkers* workers_of_this_thread() {
    PyObject* dictionary = PyThreadState_GetDict();
    if (dictionary == nullptr) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "this thread has no Python thread state, which running a shared port needs; "
            "run it in a Python thread");
        return nullptr;
    }
    // Makes the key by itself, because PyDict_GetItemString() reports a lack of memory for the key
    // as a missing capsule. A second capsule would replace the thread's workers.
    const Held key(PyUnicode_InternFromString(capsule_name));
    PyObject* capsule =
        key.get() != nullptr ? PyDict_GetItemWithError(dictionary, key.get()) : nullptr;
    if (capsule == nullptr && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    if (capsule != nullptr && of_capsule(capsule).fork_generation == iocp::fork_generation()) {
        return &of_capsule(capsule);
    }
    auto workers = std::make_unique<ThreadWorkers>();
    capsule = PyCapsule_New(workers.get(), capsule_name, thread_ended);
    if (capsule == nullptr) {
        return nullptr;
    }
    ThreadWorkers* made = workers.release();
    const int kept = PyDict_SetItem(dictionary, key.get(), capsule);
    Py_DECREF(capsule);  // if the dictionary did not keep it, this drops the workers too
    return kept == 0 ? made : nullptr;
}

}  // namespace

ThreadWorker* ThreadWorker::of(const PortObject& port) {
    ThreadWorkers* mine = workers_of_this_thread();
    if (mine == nullptr) {
        return nullptr;
    }
    for (auto at = mine->all.begin(); at != mine->all.end();) {
        PyObject* alive = port_of(**at);
        if (alive == nullptr) {
            Py_DECREF((*at)->port);
            at = mine->all.erase(at);
            continue;
        }
        Py_DECREF(alive);
        if ((*at)->binding == &port) {
            return at->get();
        }
        ++at;
    }
    PyObject* weak = PyWeakref_NewRef(port.self, nullptr);
    if (weak == nullptr) {
        return nullptr;
    }
    auto& made = mine->all.emplace_back(std::make_unique<ThreadWorker>());
    made->port = weak;
    made->binding = &port;
    return made.get();
}

run::PortWorker& PortObject::worker_of_this_thread() {
    ThreadWorker* mine = ThreadWorker::of(*this);
    if (mine == nullptr) {
        throw Raised();
    }
    return mine->worker;
}

}  // namespace iocp::py
