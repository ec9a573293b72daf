#pragma once

#include <Python.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace iocp::aio {

// The handles that a loop is to run, in order, and among them at most one place: that of the
// records which the last turn of the port left in its inbox. Owns a reference to each handle. A
// lock of its owner guards it.
class ReadyQueue {
public:
    ReadyQueue() = default;
    ~ReadyQueue();
    ReadyQueue(const ReadyQueue&) = delete;
    ReadyQueue& operator=(const ReadyQueue&) = delete;

    // Makes room for one more entry. May throw, and then changes nothing.
    void make_room();
    // Appends a handle and takes its reference over. Precondition: there is room.
    void push(PyObject* handle) noexcept { append(handle); }
    // Appends the place of the records. Precondition: there is room, and the queue has no such
    // place.
    void push_records() noexcept;
    // Takes the first entry: a handle with its reference, or null for the place of the records.
    // Precondition: the queue is not empty.
    [[nodiscard]] PyObject* take() noexcept;

    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    // Returns the number of entries, the place of the records among them.
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] bool has_records() const noexcept { return has_records_; }
    // Returns whether the place of the records is the first entry.
    [[nodiscard]] bool records_first() const noexcept {
        return has_records_ && slots_[first_] == nullptr;
    }

    void swap(ReadyQueue& other) noexcept;
    // Appends a new reference to each handle. Precondition: `out` has room for them.
    void copy_to(std::vector<PyObject*>& out) const noexcept;
    int traverse(visitproc visit, void* argument) const;

private:
    // The capacity from which an empty queue gives its memory back.
    static constexpr std::size_t kept = 1024;

    void append(PyObject* entry) noexcept;
    [[nodiscard]] std::size_t place(std::size_t number) const noexcept {
        return (first_ + number) & (capacity_ - 1);
    }

    std::unique_ptr<PyObject*[]> slots_;  // a ring; null stands for the records
    std::size_t capacity_{0};             // 0 or a power of two
    std::size_t first_{0};
    std::size_t count_{0};
    bool has_records_{false};
};

}  // namespace iocp::aio
