#pragma once

#include <Python.h>

#include <exception>
#include <new>
#include <type_traits>

namespace iocp::py {

// The border between C++ and CPython's own frames, which no exception may cross: every row of a
// table of methods, properties or slots names a function through `guarded`. Want of memory becomes
// a MemoryError. What ends a thread by unwinding it is no exception, and passes.
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
            PyErr_WriteUnraisable(nullptr);  // a slot that cannot fail
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
