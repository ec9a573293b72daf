// Functions with named arguments that belong to a class or module of pybind11. A call with keywords
// through pybind11 itself makes a string of each argument's name and reads it unchecked: without
// memory for one the process crashes. These are rows of a PyMethodDef table instead.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cerrno>
#include <tuple>
#include <type_traits>
#include <utility>

#include "bindings/arguments.hpp"
#include "bindings/guarded.hpp"
#include "bindings/otherwise.hpp"
#include "bindings/run_port.hpp"

namespace iocp::py {

// Calls `call` and makes an object of its result. The exceptions of pybind11 become those that they
// stand for.
template <class Call>
PyObject* result_of(Call&& call) {
    using Result = std::invoke_result_t<Call>;
    try {
        if constexpr (std::is_void_v<Result>) {
            call();
            Py_RETURN_NONE;
        } else if constexpr (std::is_floating_point_v<Result>) {
            return PyFloat_FromDouble(call());
        } else if constexpr (std::is_integral_v<Result>) {
            return PyLong_FromSsize_t(static_cast<Py_ssize_t>(call()));
        } else {
            return call().release().ptr();
        }
    } catch (pybind11::error_already_set& error) {
        error.restore();
    } catch (const pybind11::builtin_exception& error) {
        error.set_error();
    }
    return nullptr;
}

// An argument as a method table gives it: what was not given is None.
inline pybind11::object argument(PyObject* given) {
    return pybind11::reinterpret_borrow<pybind11::object>(given != nullptr ? given : Py_None);
}

// A truth value. None and what was not given are false; raises ArgumentTypeError for what has none.
inline bool to_flag(const Types& types, const pybind11::object& given, const char* refusal) {
    const PyNumberMethods* number = Py_TYPE(given.ptr())->tp_as_number;
    if (given.is_none()) {
        return false;
    }
    if (number == nullptr || number->nb_bool == nullptr) {
        raise(types, ErrorClass::argument_type, EINVAL, refusal);
        throw_set();
    }
    const int truth = attaching([&] { return PyObject_IsTrue(given.ptr()); });
    if (truth < 0) {
        throw_set();
    }
    return truth != 0;
}

// Calls `function` with `first` and what the call gave for each name of the signature.
template <const auto& signature, class Function, class First>
auto applied(Function function, const First& first, const Types& types, PyObject* const* given,
             Py_ssize_t count, PyObject* keywords) {
    std::array<PyObject*, signature.names.size()> arguments{};
    if (!signature.parse(types, given, count, keywords, arguments)) {
        throw_set();
    }
    return std::apply([&](auto*... each) { return function(first, argument(each)...); }, arguments);
}

// The method of Port that `function` is: it takes the Port's object and the Signature's arguments.
template <const auto& signature, auto function>
PyObject* method(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    return result_of([&] {
        const auto object = pybind11::reinterpret_borrow<pybind11::object>(self);
        const Types& types = *object.template cast<PortObject&>().types;
        return applied<signature>(function, object, types, given, count, keywords);
    });
}

// The __init__ that `function` is, called as a method of a value that is not there yet.
template <const auto& signature, auto function>
PyObject* initializer(PyObject* self, PyObject* const* given, Py_ssize_t count,
                      PyObject* keywords) {
    return result_of([&] {
        const auto object = pybind11::reinterpret_borrow<pybind11::object>(self);
        return applied<signature>(function, object, types_of_module(), given, count, keywords);
    });
}

// The function of the module that `function` is: it takes the module's Types and the Signature's
// arguments.
template <const auto& signature, auto function>
PyObject* module_function(PyObject* module, PyObject* const* given, Py_ssize_t count,
                          PyObject* keywords) {
    return result_of([&] {
        const auto reference =
            pybind11::reinterpret_steal<pybind11::object>(PyObject_GetAttrString(module, "_types"));
        if (!reference) {
            throw_set();
        }
        const auto* types =
            static_cast<const Types*>(PyCapsule_GetPointer(reference.ptr(), nullptr));
        if (types == nullptr) {
            throw_set();
        }
        return applied<signature>(function, *types, *types, given, count, keywords);
    });
}

}  // namespace iocp::py
