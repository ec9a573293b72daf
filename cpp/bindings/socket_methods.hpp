#pragma once

#include <optional>

#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"
#include "ops/operation.hpp"

namespace iocp::py {

// The method tables and the properties of Socket, each beside the file that defines it.
extern PyMethodDef ending_methods[];        // socket_ending.cpp
extern PyMethodDef operation_methods[];     // socket_operations.cpp
extern PyMethodDef message_methods[];       // socket_messages.cpp
extern PyMethodDef subscription_methods[];  // socket_subscriptions.cpp
extern PyMethodDef option_methods[];        // socket_options.cpp
extern PyGetSetDef option_properties[];
extern PyMethodDef flow_methods[];  // socket_flow.cpp
extern PyGetSetDef flow_properties[];
// Converts the name of a receive strategy; 'adaptive' becomes std::nullopt. False: an exception is
// set.
bool to_strategy(const Types& types, PyObject* given, std::optional<ReceiveStrategy>& out);
extern PyGetSetDef tuning_properties[];  // socket_tuning.cpp
// Resets what the core knows about Nagle's algorithm on the socket. Called after TCP_NODELAY was
// set.
bool note_nodelay(SocketObject& socket);

}  // namespace iocp::py
