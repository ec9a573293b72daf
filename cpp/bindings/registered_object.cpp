// The Python object RegisteredMemory: writable memory that is registered with the kernel.
#include "bindings/registered_object.hpp"

#include <cerrno>

#include "bindings/critical_section.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/pickling.hpp"
#include "bindings/port_object.hpp"

namespace iocp::py {

namespace {

struct RegisteredObject {
    PyObject_HEAD
    PyObject* port;       // strong
    PortObject* binding;  // the value of `port`
    std::byte* data;      // null once released
    Py_ssize_t length;
    Py_ssize_t exports;
};

RegisteredObject& self_of(PyObject* self) noexcept {
    return *reinterpret_cast<RegisteredObject*>(self);
}

// Gives the memory back to the core, which frees it when the kernel no longer refers to it.
void give_back(RegisteredObject& memory) {
    std::byte* data = memory.data;
    memory.data = nullptr;
    memory.length = 0;
    if (data != nullptr && !memory.binding->forked()) {
        locked(*memory.binding, [&] {
            memory.binding->core->operations().unregister(data);
            return 0;
        });
    }
}

void dealloc(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    give_back(self_of(self));
    Py_CLEAR(self_of(self).port);
    type->tp_free(self);
    Py_DECREF(type);
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
    RegisteredObject& memory = self_of(self);
    const CriticalSection section(self);
    if (memory.data == nullptr) {
        PyErr_SetString(PyExc_BufferError, "the memory was released; register new memory");
        return -1;
    }
    if (PyBuffer_FillInfo(view, self, memory.data, memory.length, 0, flags) != 0) {
        return -1;
    }
    ++memory.exports;
    return 0;
}

void release_buffer(PyObject* self, Py_buffer* /*view*/) {
    const CriticalSection section(self);
    --self_of(self).exports;
}

PyObject* release(PyObject* self, PyObject* /*unused*/) {
    const CriticalSection section(self);
    if (self_of(self).exports != 0) {
        PyErr_SetString(PyExc_BufferError,
                        "an operation or a memoryview still uses this memory; wait for the "
                        "completion, or release the view");
        return nullptr;
    }
    give_back(self_of(self));
    Py_RETURN_NONE;
}

PyObject* enter(PyObject* self, PyObject* /*unused*/) { return Py_NewRef(self); }

PyObject* leave(PyObject* self, PyObject* /*arguments*/) { return release(self, nullptr); }

Py_ssize_t length(PyObject* self) {
    const CriticalSection section(self);
    return self_of(self).length;
}

PyMethodDef methods[] = {
    {"release", guarded<release>, METH_NOARGS,
     "release() -> None\n\n"
     "Ends the registration; the port does it in its next turn. Raises BufferError while an\n"
     "operation or a memoryview uses the memory. Releasing twice is not an error."},
    {"__enter__", guarded<enter>, METH_NOARGS, nullptr},
    {"__exit__", guarded<leave>, METH_VARARGS, nullptr},
    no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

constexpr const char* documentation =
    "Writable, page-aligned memory of the core that is registered with the kernel.\n"
    "Port.register() makes it.\n\n"
    "It is locked until release(), and counted once in Ledger.registered and against the\n"
    "budget. Operations inside it are not charged again. It supports the buffer protocol: one\n"
    "dimension, len() bytes.";

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>(documentation)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded<dealloc>)},
    {Py_tp_methods, methods},
    {Py_sq_length, reinterpret_cast<void*>(guarded<length>)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(guarded<get_buffer>)},
    {Py_bf_releasebuffer, reinterpret_cast<void*>(guarded<release_buffer>)},
    {0, nullptr},
};

PyType_Spec spec = {
    "iocp_sock._core.RegisteredMemory", sizeof(RegisteredObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};

}  // namespace

PyTypeObject* make_registered_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

PyObject* new_registered(PyObject* port, PortObject& binding, std::size_t bytes) {
    auto* memory = PyObject_New(RegisteredObject, binding.types->registered);
    if (memory == nullptr) {
        return nullptr;
    }
    memory->port = Py_NewRef(port);
    memory->binding = &binding;
    memory->data = nullptr;
    memory->length = 0;
    memory->exports = 0;
    const Error error = locked(
        binding, [&] { return binding.core->operations().register_memory(bytes, memory->data); });
    if (error) {
        Py_DECREF(reinterpret_cast<PyObject*>(memory));
        return raise(&binding, *binding.types, error);
    }
    memory->length = static_cast<Py_ssize_t>(bytes);
    return reinterpret_cast<PyObject*>(memory);
}

}  // namespace iocp::py
