#pragma once

#include <atomic>

#include "bindings/compat.hpp"
#include "bindings/linked_list.hpp"

namespace iocp::py {

// A packet that the application has posted, until it is handed out. Until the core has accepted the
// packet, the posting thread owns and deletes it. Then the port's list owns it, and the thread that
// takes it from the list deletes it.
struct PostedPacket {
    PostedPacket(PyObject* given, PyObject* given_callback) noexcept
        : value(Py_NewRef(given)), callback(Py_XNewRef(given_callback)) {}
    ~PostedPacket() {
        Py_DECREF(value);
        Py_XDECREF(callback);
    }
    PostedPacket(const PostedPacket&) = delete;
    PostedPacket& operator=(const PostedPacket&) = delete;

    PyObject* value;
    PyObject* callback;
    Links<PostedPacket> links;
    // Whether the core has accepted the packet. Written with the port's lock held; the end of the
    // port reads it with links_mutex alone.
    std::atomic<bool> accepted{false};
};

}  // namespace iocp::py
