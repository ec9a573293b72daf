// Containers and constructors of Python objects that raise MemoryError when memory is short.
// pybind11's own would then end the process or hide the error.
#pragma once

#include <pybind11/pybind11.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <utility>

#include "bindings/guarded.hpp"
#include "bindings/run_port.hpp"

namespace iocp::py {

// Takes over a new reference. Throws the exception that is set if the reference is null.
inline pybind11::object checked(PyObject* made) {
    if (made == nullptr) {
        throw_set();
    }
    return pybind11::reinterpret_steal<pybind11::object>(made);
}

inline pybind11::object to_object(const pybind11::object& value) { return value; }
inline pybind11::object to_object(const char* text) { return checked(PyUnicode_FromString(text)); }
inline pybind11::object to_object(const std::string& text) { return to_object(text.c_str()); }
template <std::integral Number>
pybind11::object to_object(Number number) {
    if constexpr (std::same_as<Number, bool>) {
        return pybind11::bool_(number);
    } else if constexpr (std::unsigned_integral<Number>) {
        return checked(PyLong_FromUnsignedLongLong(number));
    } else {
        return checked(PyLong_FromLongLong(number));
    }
}

template <class... Values>
pybind11::object tuple_of(const Values&... values) {
    pybind11::object made = checked(PyTuple_New(sizeof...(values)));
    Py_ssize_t at = 0;
    (PyTuple_SET_ITEM(made.ptr(), at++, to_object(values).release().ptr()), ...);
    return made;
}

class List {
public:
    template <class Value>
    void append(const Value& value) {
        if (PyList_Append(list_.ptr(), to_object(value).ptr()) < 0) {
            throw_set();
        }
    }
    [[nodiscard]] const pybind11::object& object() const noexcept { return list_; }

private:
    pybind11::object list_{checked(PyList_New(0))};
};

inline pybind11::object to_object(const List& list) { return list.object(); }

class Dict {
public:
    template <class Value>
    void set(const char* name, const Value& value) {
        if (PyDict_SetItem(dict_.ptr(), to_object(name).ptr(), to_object(value).ptr()) < 0) {
            throw_set();
        }
    }
    [[nodiscard]] const pybind11::object& object() const noexcept { return dict_; }

private:
    pybind11::object dict_{checked(PyDict_New())};
};

inline pybind11::object to_object(const Dict& dict) { return dict.object(); }

// The __new__ of a class of pybind11. For the first instance of a subclass, pybind11 makes a record
// of the subclass, which may start a garbage collection. The collector must not meet an instance
// without its layout. So this function has the record made before it allocates the instance.
inline PyObject* new_instance(PyTypeObject* type, PyObject* /*positional*/,
                              PyObject* /*keywords*/) {
    (void)pybind11::detail::all_type_info(type);
    PyObject* self = type->tp_alloc(type, 0);
    if (self == nullptr) {
        return nullptr;
    }
    try {
        reinterpret_cast<pybind11::detail::instance*>(self)->allocate_layout();
    } catch (...) {
        if (PyType_IS_GC(type)) {
            PyObject_GC_UnTrack(self);
        }
        type->tp_free(self);
        Py_DECREF(type);
        throw;
    }
    return self;
}

// Gives `self` its C++ value, at the end of __init__(). Without memory to register the value,
// pybind11's own function leaves the value in place, and the object would delete it a second time.
template <class Value, class Holder>
void give_value(const pybind11::object& self, Holder value) {
    auto* instance = reinterpret_cast<pybind11::detail::instance*>(self.ptr());
    pybind11::detail::value_and_holder place =
        instance->get_value_and_holder(pybind11::detail::get_type_info(typeid(Value)));
    if (place.instance_registered()) {
        return;  // __init__() was called a second time
    }
    place.value_ptr() = value.get();
    try {
        place.type->init_instance(instance, &value);
    } catch (...) {
        place.value_ptr() = nullptr;
        throw;
    }
}

// Adds the methods of a table to a class of pybind11.
inline void add_methods(const pybind11::object& type, PyMethodDef* rows) {
    for (PyMethodDef* row = rows; row->ml_name != nullptr; ++row) {
        type.attr(row->ml_name) =
            checked(PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), row));
    }
}

}  // namespace iocp::py
