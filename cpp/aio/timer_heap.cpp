#include "aio/timer_heap.hpp"

#include <utility>

namespace iocp::aio {

TimerHeap::~TimerHeap() {
    while (!entries_.empty()) {
        PyObject* handle = entries_.back().handle;
        entries_.pop_back();
        Py_DECREF(handle);
    }
}

void TimerHeap::push(double due, PyObject* handle) noexcept {
    assert(due == due && entries_.size() < entries_.capacity());
    entries_.push_back({due, calls_++, handle});
    std::push_heap(entries_.begin(), entries_.end(), later);
}

PyObject* TimerHeap::take_first() noexcept {
    assert(!entries_.empty());
    std::pop_heap(entries_.begin(), entries_.end(), later);
    PyObject* handle = entries_.back().handle;
    entries_.pop_back();
    return handle;
}

void TimerHeap::swap(TimerHeap& other) noexcept {
    std::swap(entries_, other.entries_);
    std::swap(calls_, other.calls_);
    std::swap(cancelled_, other.cancelled_);
}

void TimerHeap::copy_to(std::vector<PyObject*>& out) const noexcept {
    assert(out.capacity() - out.size() >= entries_.size());
    for (const Entry& entry : entries_) {
        out.push_back(Py_NewRef(entry.handle));
    }
}

int TimerHeap::traverse(visitproc visit, void* argument) const {
    for (const Entry& entry : entries_) {
        if (const int answer = visit(entry.handle, argument); answer != 0) {
            return answer;
        }
    }
    return 0;
}

}  // namespace iocp::aio
