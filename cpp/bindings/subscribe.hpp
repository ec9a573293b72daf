#pragma once

#include "bindings/post.hpp"
#include "bindings/socket_object.hpp"

namespace iocp::py {

// Posts a subscription. While the subscription lives, the port keeps the Socket, and the Socket
// keeps the callbacks; null leaves none. If several threads race to subscribe, one succeeds. A
// refused post changes nothing. A cancelled subscription may still be ahead in the lane; its
// remaining data goes to the new callbacks. Returns a new reference to the Operation, or null.
PyObject* subscribe(SocketObject& socket, Post& what, PyObject* on_item, PyObject* on_close,
                    PyObject* on_error);

}  // namespace iocp::py
