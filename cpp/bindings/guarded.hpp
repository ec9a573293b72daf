#pragma once

#include <Python.h>

#include <exception>
#include <new>
#include <type_traits>

namespace iocp::py {

// The border between C++ and CPython's own frames, which no C++ exception may cross. Every row of a
// table of methods, properties or slots names its function through `guarded`. A lack of memory
// becomes a MemoryError. The forced unwinding by which the interpreter ends a thread is not a C++
// exception, and passes.
template <class Function>
struct Border;

template <class Result, class... Arguments>
struct Border<Result (*)(Arguments...)> {
    template <Result (*function)(Arguments...)>
    static Result call(Arguments... arguments) {
        try {
            return function(arguments...);
        } catch (const std::bad_alloc&) {
            PyErr_NoMemory();
        } catch (const std::exception& error) {
            PyErr_SetString(PyExc_SystemError, error.what());
        }
        if constexpr (std::is_void_v<Result>) {
            PyErr_WriteUnraisable(nullptr);  // this slot cannot report an error
        } else if constexpr (std::is_pointer_v<Result>) {
            return nullptr;
        } else {
            return static_cast<Result>(-1);
        }
    }
};

template <class Result, class... Arguments>
struct Border<Result (*)(Arguments...) noexcept> : Border<Result (*)(Arguments...)> {};

template <auto function>
inline constexpr auto guarded = &Border<decltype(function)>::template call<function>;

}  // namespace iocp::py
