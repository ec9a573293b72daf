// Functions with named arguments for a class or module of pybind11, as rows of a PyMethodDef table.
// In a call with keywords, pybind11 itself makes a string of each argument's name and does not
// check the result. So a lack of memory would crash the process.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cerrno>
#include <tuple>
#include <type_traits>
#include <utility>

#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/guarded.hpp"
#include "bindings/otherwise.hpp"
#include "bindings/port_object.hpp"
#include "bindings/run_port.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

// Calls `call` and returns its result as a Python object. Sets the Python exceptions for which
// pybind11's C++ exceptions stand.
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

// Returns an argument as an object; None if the caller did not give it.
inline pybind11::object argument(PyObject* given) {
    return pybind11::reinterpret_borrow<pybind11::object>(given != nullptr ? given : Py_None);
}

// Returns the truth value of an argument: false for None and for an absent one. Raises
// ArgumentTypeError for an object without a truth value.
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

// Calls `function` with `first` and the argument for each name of the signature.
template <const auto& signature, class Function, class First>
auto applied(Function function, const First& first, const Types& types, PyObject* const* given,
             Py_ssize_t count, PyObject* keywords) {
    std::array<PyObject*, signature.names.size()> arguments{};
    if (!signature.parse(types, given, count, keywords, arguments)) {
        throw_set();
    }
    return std::apply([&](auto*... each) { return function(first, argument(each)...); }, arguments);
}

// Makes a method of Port from `function`, which takes the Port's object and the Signature's
// arguments.
template <const auto& signature, auto function>
PyObject* method(PyObject* self, PyObject* const* given, Py_ssize_t count, PyObject* keywords) {
    return result_of([&] {
        const auto object = pybind11::reinterpret_borrow<pybind11::object>(self);
        const Types& types = *object.template cast<PortObject&>().types;
        return applied<signature>(function, object, types, given, count, keywords);
    });
}

// Makes an __init__ from `function`, which is called before the object has its C++ value.
template <const auto& signature, auto function>
PyObject* initializer(PyObject* self, PyObject* const* given, Py_ssize_t count,
                      PyObject* keywords) {
    return result_of([&] {
        const auto object = pybind11::reinterpret_borrow<pybind11::object>(self);
        return applied<signature>(function, object, types_of_module(), given, count, keywords);
    });
}

// Makes a function of the module from `function`, which takes the module's Types and the
// Signature's arguments.
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
