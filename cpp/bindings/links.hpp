#pragma once

#include <mutex>
#include <optional>
#include <utility>

#include "base/slot_table.hpp"
#include "bindings/port_object.hpp"

namespace iocp::py {

// Adds an item to a list of the port, and takes over a reference from the caller. False: the item
// is in the list already. A caller that removes the item takes that reference over.
template <class T>
bool link(PortObject& port, LinkedList<T>& list, T& item) {
    const std::lock_guard guard(port.links_mutex);
    if (item.links.linked()) {
        return false;
    }
    list.add(item);
    return true;
}
// Removes an item from a list of the port. Returns whether the item was in the list. If several
// threads remove it at once, exactly one gets true.
template <class T>
bool unlink(PortObject& port, LinkedList<T>& list, T& item) {
    const std::lock_guard guard(port.links_mutex);
    if (!item.links.linked()) {
        return false;
    }
    list.remove(item);
    return true;
}
// Removes and returns an item for which `wanted` returns true; null if there is none.
template <class T, class Wanted>
T* unlink_any(PortObject& port, LinkedList<T>& list, Wanted&& wanted) {
    const std::lock_guard guard(port.links_mutex);
    T* item = list.first;
    while (item != nullptr && !wanted(*item)) {
        item = item->links.next;
    }
    if (item != nullptr) {
        list.remove(*item);
    }
    return item;
}
// Adds an item to a list of the port, which then keeps the item's Python object alive. Does nothing
// if the item is in the list already.
template <class T>
void hold(PortObject& port, LinkedList<T>& list, T& item) {
    auto* object = reinterpret_cast<PyObject*>(&item);
    Py_INCREF(object);
    if (!link(port, list, item)) {
        Py_DECREF(object);
    }
}
template <class T>
void give_up(PortObject& port, LinkedList<T>& list, T& item) {
    if (unlink(port, list, item)) {
        Py_DECREF(reinterpret_cast<PyObject*>(&item));
    }
}

// Returns a new reference to the Python object to which the core's pointer `user` leads. Null:
// there is no such object, or it is being destroyed.
template <class T>
T* object_of(PortObject& port, void* const& user) {
    const std::lock_guard guard(port.links_mutex);
    auto* object = static_cast<T*>(user);
    return object != nullptr && take_reference(reinterpret_cast<PyObject*>(object)) ? object
                                                                                    : nullptr;
}
// Cuts the link between a core item (an operation or a socket) and its Python object from the
// core's side, before the core item ends. The Python object then finds no core item, even while
// another thread destroys that object.
template <class T, class Core>
void cut_from_core(PortObject& port, Core& core) {
    const std::lock_guard guard(port.links_mutex);
    if (core.user != nullptr) {
        static_cast<T*>(core.user)->core.set(nullptr);
        core.user = nullptr;
    }
}
// Cuts the link between a Python object and its core item from the object's side, before any call
// that may detach the thread, because the core must not find an object without references. Returns
// the id of the core item, if it was still linked.
template <class T>
std::optional<SlotId> cut_from_object(PortObject& port, T& object) {
    const std::lock_guard guard(port.links_mutex);
    auto* core = object.core.get();
    if (core == nullptr) {
        return std::nullopt;
    }
    core->user = nullptr;
    object.core.set(nullptr);
    return core->id;
}

// Returns a new reference to a callback that a Python object stores, or null. The mutex is needed
// because another thread may replace the callback.
inline PyObject* stored(PortObject& port, PyObject* const& field) {
    const std::lock_guard guard(port.links_mutex);
    return Py_XNewRef(field);
}
// Stores `value`, taking over its reference, and returns the old value.
[[nodiscard]] inline PyObject* replaced(PortObject& port, PyObject*& field, PyObject* value) {
    const std::lock_guard guard(port.links_mutex);
    return std::exchange(field, value);
}
inline void forget(PortObject& port, PyObject*& field) {
    Py_XDECREF(replaced(port, field, nullptr));
}

}  // namespace iocp::py
