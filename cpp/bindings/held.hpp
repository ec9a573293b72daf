#pragma once

#include <Python.h>

#include <utility>

namespace iocp::py {

// Holds a reference to a Python object until the scope ends.
class Held {
public:
    explicit Held(PyObject* taken) noexcept : object_(taken) {}
    Held(Held&& other) noexcept : object_(other.release()) {}
    ~Held() { Py_XDECREF(object_); }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    Held& operator=(Held&&) = delete;

    [[nodiscard]] PyObject* get() const noexcept { return object_; }
    [[nodiscard]] PyObject* release() noexcept { return std::exchange(object_, nullptr); }

private:
    PyObject* object_;
};

}  // namespace iocp::py
