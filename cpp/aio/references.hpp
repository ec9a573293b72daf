#pragma once

#include <Python.h>

#include <cstddef>
#include <vector>

namespace iocp::aio {

// A list of references, which are dropped with it: outside of every lock, because that may run any
// code.
class References {
public:
    References() = default;
    ~References() {
        for (PyObject* object : objects_) {
            Py_DECREF(object);
        }
    }
    References(const References&) = delete;
    References& operator=(const References&) = delete;

    // Makes room for so many. May throw.
    void make_room(std::size_t count) { objects_.reserve(count); }
    [[nodiscard]] std::vector<PyObject*>& objects() noexcept { return objects_; }
    // Returns a new list of the objects, or null with an exception set.
    [[nodiscard]] PyObject* to_list() const {
        PyObject* list = PyList_New(static_cast<Py_ssize_t>(objects_.size()));
        if (list != nullptr) {
            Py_ssize_t place = 0;
            for (PyObject* object : objects_) {
                PyList_SET_ITEM(list, place++, Py_NewRef(object));
            }
        }
        return list;
    }

private:
    std::vector<PyObject*> objects_;
};

}  // namespace iocp::aio
