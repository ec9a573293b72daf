#pragma once

#include <array>
#include <cstddef>

#include "bindings/errors.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

// The flags of a row of a method table whose function takes named arguments.
inline constexpr int keywords_call = METH_FASTCALL | METH_KEYWORDS;

// The arguments that a method takes. The first `positional` names may be given by position, the
// rest only by keyword. The first `required` names must be given.
template <std::size_t N>
struct Signature {
    const char* method;
    std::array<const char*, N> names;
    Py_ssize_t positional;
    Py_ssize_t required;

    // Puts borrowed references to the given arguments into `out`, in the order of `names`, and null
    // for each argument that was not given. False: an exception is set.
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
                    return refuse(types, "%s() got '%s' twice; give it once", names[i]);
                }
                out[i] = value;
                return true;
            }
        }
        return refuse(types, "%s() has no argument %A", name);
    }

    template <class Detail>
    bool refuse(const Types& types, const char* format, Detail detail) const {
        return py::refuse(types, ErrorClass::argument_type,
                          PyUnicode_FromFormat(format, method, detail));
    }
};

inline bool is_given(PyObject* value) noexcept { return value != nullptr && value != Py_None; }

// Raises ArgumentTypeError with `expected` and the type of `given`. Returns false.
bool refuse_type(const Types& types, const char* expected, PyObject* given);

// Each converts an argument and stores the result in `out`. A null or None argument gives the
// default. False: an exception is set.
bool to_callback(const Types& types, PyObject* value, PyObject*& out);
bool to_timeout(const Types& types, PyObject* value, std::int64_t& nanoseconds);
bool to_int(const Types& types, PyObject* value, const char* name, int& out);

// Copies the items of an iterable to a tuple, because other threads, and the code of the iterator,
// may change the caller's list. Reads at most one item more than `maximum`, so that an endless
// iterable ends. Null: an exception is set, with `refusal` for an object that is not iterable and
// `too_many` for more than `maximum` items.
PyObject* listed(const Types& types, PyObject* iterable, Py_ssize_t maximum, const char* refusal,
                 const char* too_many);
bool to_size(const Types& types, PyObject* value, const char* name, Py_ssize_t minimum,
             Py_ssize_t& out);

}  // namespace iocp::py
