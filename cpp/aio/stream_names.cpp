// StreamBase: the addresses of a connection, as long as anybody may ask for them.
#include <cstring>

#include "aio/stream_object.hpp"
#include "bindings/address_argument.hpp"
#include "bindings/guarded.hpp"
#include "bindings/open_socket.hpp"
#include "bindings/port_object.hpp"

namespace iocp::aio {

using py::guarded;
using py::Held;

namespace {

// Asks for an address of the open Socket. Without one its length is 0.
Address address_of(py::SocketObject& socket, bool peer) {
    return py::peek(socket, Address{}, [&](const Socket& target) {
        Address found;
        if (target.handle == no_handle ||
            socket.binding->core->backend().name_of(target, peer, found) != 0) {
            found.length = 0;
        }
        return found;
    });
}

// Returns an address that keep_names() has kept; without one its length is 0.
Address kept_name(PyObject* names, bool peer) {
    Address address;
    const auto* at = reinterpret_cast<const unsigned char*>(PyBytes_AS_STRING(names));
    const std::size_t own = *at;
    const std::size_t rest = static_cast<std::size_t>(PyBytes_GET_SIZE(names)) - 1 - own;
    address.length = static_cast<std::uint32_t>(peer ? rest : own);
    std::memcpy(address.bytes.data(), at + 1 + (peer ? own : 0), address.length);
    return address;
}

// _name(peer): an address of the Socket, also after its end; None if there is none.
PyObject* name_of(PyObject* self, PyObject* of_peer) {
    const StreamFields& fields = fields_of(self);
    const bool peer = of_peer == Py_True;
    const Held names(taken(self, &StreamFields::names));
    const Held core(open_core(self));
    Address address;
    if (peer && fields.peer_length != 0) {
        std::memcpy(address.bytes.data(), fields.peer.data(), fields.peer_length);
        address.length = fields.peer_length;
    } else if (names.get() != nullptr) {
        address = kept_name(names.get(), peer);
    } else if (core.get() != nullptr) {
        address = address_of(*socket_in(core), peer);
    }
    return address.length != 0 ? py::from_address(address) : Py_NewRef(Py_None);
}

}  // namespace

void keep_names(PyObject* self, py::SocketObject& socket) {
    StreamFields& fields = fields_of(self);
    const Address own = address_of(socket, false);
    const Address peer = fields.peer_length == 0 ? address_of(socket, true) : Address{};
    Held names(
        PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(1 + own.length + peer.length)));
    if (names.get() == nullptr) {
        PyErr_Clear();  // they are then unknown after the end
        return;
    }
    char* at = PyBytes_AS_STRING(names.get());
    *at = static_cast<char>(own.length);
    std::memcpy(at + 1, own.bytes.data(), own.length);
    std::memcpy(at + 1 + own.length, peer.bytes.data(), peer.length);
    const py::CriticalSection section(self);
    if (fields.names == nullptr) {
        fields.names = names.release();
    }
}

PyMethodDef stream_name_methods[] = {
    {"_name", guarded<name_of>, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace iocp::aio
