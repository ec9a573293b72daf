#include "bindings/buffer_object.hpp"

#include <cerrno>
#include <cstring>
#include <string_view>

#include "bindings/critical_section.hpp"
#include "bindings/exported_view.hpp"
#include "bindings/guarded.hpp"
#include "bindings/pickling.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

BufferObject& self_of(PyObject* self) noexcept { return *reinterpret_cast<BufferObject*>(self); }

void drop(BufferObject& buffer) noexcept {
    Region* region = buffer.region;
    buffer.region = nullptr;
    buffer.data = nullptr;
    buffer.length = 0;
    if (region != nullptr) {
        region->drop_reference();
    }
}

void dealloc(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    drop(self_of(self));
    type->tp_free(self);
    Py_DECREF(type);
}

// Holds the bytes of a Buffer while they are read, because another thread may release the Buffer.
class HeldBytes {
public:
    explicit HeldBytes(PyObject* self) noexcept {
        const CriticalSection section(self);
        const BufferObject& buffer = self_of(self);
        region_ = buffer.region;
        data_ = buffer.data;
        length_ = buffer.length;
        if (region_ != nullptr) {
            region_->add_reference();
        }
    }
    ~HeldBytes() {
        if (region_ != nullptr) {
            region_->drop_reference();
        }
    }
    HeldBytes(const HeldBytes&) = delete;
    HeldBytes& operator=(const HeldBytes&) = delete;

    [[nodiscard]] const std::byte* data() const noexcept { return data_; }
    [[nodiscard]] Py_ssize_t length() const noexcept { return length_; }

private:
    Region* region_{nullptr};
    const std::byte* data_{nullptr};
    Py_ssize_t length_{0};
};

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
    static std::byte nothing{};
    const CriticalSection section(self);
    BufferObject& buffer = self_of(self);
    const int result = PyBuffer_FillInfo(
        view, self, buffer.data != nullptr ? buffer.data : &nothing, buffer.length, 1, flags);
    if (result == 0) {
        ++buffer.exports;
    }
    return result;
}

void release_buffer(PyObject* self, Py_buffer* /*view*/) {
    const CriticalSection section(self);
    --self_of(self).exports;
}

PyObject* to_bytes(PyObject* self, PyObject* /*unused*/) {
    const HeldBytes bytes(self);
    return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()), bytes.length());
}

PyObject* release(PyObject* self, PyObject* /*unused*/) {
    const CriticalSection section(self);
    if (self_of(self).exports != 0) {
        PyErr_SetString(PyExc_BufferError,
                        "a memoryview of this Buffer is still in use; release it first");
        return nullptr;
    }
    drop(self_of(self));  // the last reader frees the region's memory
    Py_RETURN_NONE;
}

PyObject* enter(PyObject* self, PyObject* /*unused*/) { return Py_NewRef(self); }

PyObject* leave(PyObject* self, PyObject* /*arguments*/) { return release(self, nullptr); }

Py_ssize_t length(PyObject* self) { return HeldBytes(self).length(); }

PyObject* item_of(const HeldBytes& bytes, Py_ssize_t index) {
    if (index < 0 || index >= bytes.length()) {
        PyErr_SetString(PyExc_IndexError, "Buffer index out of range");
        return nullptr;
    }
    return PyLong_FromLong(static_cast<long>(bytes.data()[index]));
}

PyObject* item(PyObject* self, Py_ssize_t index) { return item_of(HeldBytes(self), index); }

PyObject* subscript(PyObject* self, PyObject* key) {
    if (PyIndex_Check(key)) {
        Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
        if (index == -1 && PyErr_Occurred() != nullptr) {
            return nullptr;
        }
        const HeldBytes bytes(self);
        return item_of(bytes, index < 0 ? index + bytes.length() : index);
    }
    if (!PySlice_Check(key)) {
        PyErr_SetString(PyExc_TypeError, "Buffer indices must be integers or slices");
        return nullptr;
    }
    Py_ssize_t start = 0;
    Py_ssize_t stop = 0;
    Py_ssize_t step = 0;
    if (PySlice_Unpack(key, &start, &stop, &step) != 0) {
        return nullptr;
    }
    const HeldBytes bytes(self);
    const Py_ssize_t count = PySlice_AdjustIndices(bytes.length(), &start, &stop, step);
    PyObject* result = PyBytes_FromStringAndSize(nullptr, count);
    if (result == nullptr) {
        return nullptr;
    }
    char* out = PyBytes_AS_STRING(result);
    for (Py_ssize_t i = 0; i < count; ++i) {
        out[i] = static_cast<char>(bytes.data()[start + (i * step)]);
    }
    return result;
}

PyObject* compare(PyObject* self, PyObject* other, int operation) {
    if ((operation != Py_EQ && operation != Py_NE) || PyObject_CheckBuffer(other) == 0) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    Py_buffer view;
    if (get_view(other, view, PyBUF_SIMPLE) != 0) {
        PyErr_Clear();
        Py_RETURN_NOTIMPLEMENTED;
    }
    const HeldBytes bytes(self);
    const bool same = view.len == bytes.length() &&
                      (view.len == 0 || std::memcmp(view.buf, bytes.data(),
                                                    static_cast<std::size_t>(view.len)) == 0);
    release_view(view);
    return PyBool_FromLong(same == (operation == Py_EQ) ? 1 : 0);
}

std::string_view text_of(const Py_buffer& view) noexcept {
    return {static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len)};
}

// Implements `in` as bytes does: an int is one byte, and a bytes-like object is searched for as a
// whole. Without this function the interpreter would compare each byte with the whole object and
// find nothing.
int contains(PyObject* self, PyObject* wanted) {
    Py_buffer bytes;
    Py_buffer part;
    char byte = 0;
    if (PyIndex_Check(wanted) != 0) {
        const Py_ssize_t number = PyNumber_AsSsize_t(wanted, nullptr);
        if (number == -1 && PyErr_Occurred() != nullptr) {
            return -1;
        }
        if (number < 0 || number > 255) {
            PyErr_SetString(PyExc_ValueError, "a byte must be an int from 0 to 255");
            return -1;
        }
        byte = static_cast<char>(number);
        if (PyBuffer_FillInfo(&part, nullptr, &byte, 1, 1, PyBUF_SIMPLE) != 0) {
            return -1;
        }
    } else if (get_view(wanted, part, PyBUF_SIMPLE) != 0) {
        return -1;  // the interpreter's own error for an object that is not bytes-like
    }
    if (get_view(self, bytes, PyBUF_SIMPLE) != 0) {
        release_view(part);
        return -1;
    }
    const bool found = text_of(bytes).find(text_of(part)) != std::string_view::npos;
    release_view(bytes);
    release_view(part);
    return found ? 1 : 0;
}

PyObject* represent(PyObject* self) {
    return PyUnicode_FromFormat("<iocp_sock.Buffer of %zd bytes>", length(self));
}

PyObject* get_nbytes(PyObject* self, void* /*unused*/) { return PyLong_FromSsize_t(length(self)); }

PyMethodDef methods[] = {
    {"tobytes", guarded<to_bytes>, METH_NOARGS,
     "tobytes() -> bytes\n\n"
     "Returns a copy of the received bytes."},
    {"__bytes__", guarded<to_bytes>, METH_NOARGS, nullptr},
    {"release", guarded<release>, METH_NOARGS,
     "release() -> None\n\n"
     "Gives the memory back now instead of with the last reference. The Buffer is empty\n"
     "afterwards. Raises BufferError while a memoryview of the Buffer exists."},
    {"__enter__", guarded<enter>, METH_NOARGS, nullptr},
    {"__exit__", guarded<leave>, METH_VARARGS, nullptr},
    no_pickling,
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"nbytes", guarded<get_nbytes>, nullptr, "The length in bytes, as len() gives it.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

constexpr const char* documentation =
    "Received bytes in memory of the core: read-only, one dimension, len() bytes.\n\n"
    "A Buffer supports the buffer protocol: bytes(buffer) copies, slices are bytes, ==\n"
    "compares with any bytes-like object, and `in` searches as in bytes. Use bytes(buffer)\n"
    "for the other methods of bytes. A program may keep a Buffer for any time, and may send\n"
    "it as it is. A kept Buffer keeps its whole block. Once readers hold many blocks, the\n"
    "core hands out further messages as copies of their own size. So readers that keep\n"
    "Buffers pay only for those bytes. An empty Buffer is the end of the stream.";

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>(documentation)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded<dealloc>)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_repr, reinterpret_cast<void*>(guarded<represent>)},
    {Py_tp_richcompare, reinterpret_cast<void*>(guarded<compare>)},
    {Py_tp_hash, reinterpret_cast<void*>(PyObject_HashNotImplemented)},
    {Py_sq_length, reinterpret_cast<void*>(guarded<length>)},
    {Py_sq_item, reinterpret_cast<void*>(guarded<item>)},
    {Py_sq_contains, reinterpret_cast<void*>(guarded<contains>)},
    {Py_mp_length, reinterpret_cast<void*>(guarded<length>)},
    {Py_mp_subscript, reinterpret_cast<void*>(guarded<subscript>)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(guarded<get_buffer>)},
    {Py_bf_releasebuffer, reinterpret_cast<void*>(guarded<release_buffer>)},
    {0, nullptr},
};

PyType_Spec spec = {
    "iocp_sock._core.Buffer", sizeof(BufferObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};

}  // namespace

PyTypeObject* make_buffer_type(PyObject* module) {
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

PyObject* blank_buffer(const Types& types) {
    auto* buffer = PyObject_New(BufferObject, types.buffer);
    if (buffer == nullptr) {
        return nullptr;
    }
    buffer->data = nullptr;
    buffer->length = 0;
    buffer->exports = 0;
    buffer->region = nullptr;
    return reinterpret_cast<PyObject*>(buffer);
}

void fill_buffer(PyObject* blank, Slice slice) noexcept {
    BufferObject& buffer = self_of(blank);
    buffer.data = slice.data();
    buffer.length = static_cast<Py_ssize_t>(slice.length());
    buffer.region = slice.release();
}

PyObject* new_buffer(const Types& types, Slice slice) {
    PyObject* buffer = blank_buffer(types);
    if (buffer != nullptr) {
        fill_buffer(buffer, std::move(slice));
    }
    return buffer;
}

}  // namespace iocp::py
