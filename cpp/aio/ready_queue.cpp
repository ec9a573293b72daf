#include "aio/ready_queue.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace iocp::aio {

// A reference that is dropped may run any code, which must find a valid queue.
ReadyQueue::~ReadyQueue() {
    while (!empty()) {
        Py_XDECREF(take());
    }
}

void ReadyQueue::make_room() {
    if (count_ < capacity_) {
        return;
    }
    const std::size_t wider = std::max<std::size_t>(2 * capacity_, 16);
    auto slots = std::make_unique<PyObject*[]>(wider);
    for (std::size_t number = 0; number < count_; ++number) {
        slots[number] = slots_[place(number)];
    }
    slots_ = std::move(slots);
    capacity_ = wider;
    first_ = 0;
}

void ReadyQueue::push_records() noexcept {
    assert(!has_records_);
    append(nullptr);
    has_records_ = true;
}

PyObject* ReadyQueue::take() noexcept {
    assert(!empty());
    PyObject* entry = slots_[first_];
    first_ = place(1);
    has_records_ = has_records_ && entry != nullptr;
    if (--count_ == 0 && capacity_ > kept) {
        slots_.reset();
        capacity_ = first_ = 0;
    }
    return entry;
}

void ReadyQueue::swap(ReadyQueue& other) noexcept {
    std::swap(slots_, other.slots_);
    std::swap(capacity_, other.capacity_);
    std::swap(first_, other.first_);
    std::swap(count_, other.count_);
    std::swap(has_records_, other.has_records_);
}

void ReadyQueue::copy_to(std::vector<PyObject*>& out) const noexcept {
    assert(out.capacity() - out.size() >= count_);
    for (std::size_t number = 0; number < count_; ++number) {
        if (PyObject* handle = slots_[place(number)]; handle != nullptr) {
            out.push_back(Py_NewRef(handle));
        }
    }
}

int ReadyQueue::traverse(visitproc visit, void* argument) const {
    for (std::size_t number = 0; number < count_; ++number) {
        if (PyObject* handle = slots_[place(number)]; handle != nullptr) {
            if (const int answer = visit(handle, argument); answer != 0) {
                return answer;
            }
        }
    }
    return 0;
}

void ReadyQueue::append(PyObject* entry) noexcept {
    assert(count_ < capacity_);
    slots_[place(count_)] = entry;
    ++count_;
}

}  // namespace iocp::aio
