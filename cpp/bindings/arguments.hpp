#pragma once

#include <array>
#include <cstddef>

#include "bindings/objects.hpp"

namespace iocp::py {

// How a row of a method table says that its function takes named arguments.
inline constexpr int keywords_call = METH_FASTCALL | METH_KEYWORDS;

// What a method of a raw type takes: `positional` names may be given by place, the rest only by
// keyword; the first `required` must be given.
template <std::size_t N>
struct Signature {
    const char* method;
    std::array<const char*, N> names;
    Py_ssize_t positional;
    Py_ssize_t required;

    // Borrowed references in the order of `names`, null where not given. False: exception set.
    bool parse(const Types& types, PyObject* const* given, Py_ssize_t count, PyObject* keywords,
               std::array<PyObject*, N>& out) const {
        out.fill(nullptr);
        if (count > positional) {
            return refuse(types, "%s() takes at most %zd positional arguments", positional);
        }
        for (Py_ssize_t i = 0; i < count; ++i) {
            out[static_cast<std::size_t>(i)] = given[i];
        }
        const Py_ssize_t named = keywords != nullptr ? PyTuple_GET_SIZE(keywords) : 0;
        for (Py_ssize_t k = 0; k < named; ++k) {
            if (!place(types, PyTuple_GET_ITEM(keywords, k), given[count + k], out)) {
                return false;
            }
        }
        for (Py_ssize_t i = 0; i < required; ++i) {
            if (out[static_cast<std::size_t>(i)] == nullptr) {
                return refuse(types, "%s() needs the argument '%s'",
                              names[static_cast<std::size_t>(i)]);
            }
        }
        return true;
    }

private:
    bool place(const Types& types, PyObject* name, PyObject* value,
               std::array<PyObject*, N>& out) const {
        for (std::size_t i = 0; i < N; ++i) {
            if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0) {
                if (out[i] != nullptr) {
                    return refuse(types, "%s() got '%s' twice", names[i]);
                }
                out[i] = value;
                return true;
            }
        }
        PyObject* message = PyUnicode_FromFormat("%s() has no argument %A", method, name);
        return refuse(types, message);
    }

    template <class Detail>
    bool refuse(const Types& types, const char* format, Detail detail) const {
        return refuse(types, PyUnicode_FromFormat(format, method, detail));
    }

    static bool refuse(const Types& types, PyObject* message) {
        if (message != nullptr) {
            raise(types, ErrorClass::argument_type, 22, PyUnicode_AsUTF8(message));
            Py_DECREF(message);
        }
        return false;
    }
};

inline bool is_given(PyObject* value) noexcept { return value != nullptr && value != Py_None; }

// Conversions: false with an exception set. A null or None object leaves the default.
bool to_callback(const Types& types, PyObject* value, PyObject*& out);
bool to_timeout(const Types& types, PyObject* value, std::int64_t& nanoseconds);
bool to_int(const Types& types, PyObject* value, const char* name, int& out);

// The items of an iterable, as a tuple: other threads, and what is called for an item, may change
// the caller's list. Null: an exception is set, `refusal` for what is no iterable, `too_many` for
// more than `most`: an endless one is not read on.
PyObject* listed(const Types& types, PyObject* iterable, Py_ssize_t most, const char* refusal,
                 const char* too_many);
bool to_size(const Types& types, PyObject* value, const char* name, Py_ssize_t least,
             Py_ssize_t& out);

}  // namespace iocp::py
