#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#include "core/ready.hpp"

namespace iocp {

// What a port has for its application, in order. The end of an operation and of a socket always
// finds a place: without memory for its record it waits in a list through the objects themselves.
// Every other record needs a reserve() that said yes, before what it tells of is taken.
class ReadyQueue {
public:
    // Whether `count` more records can be pushed. It is false while an older one waits for memory,
    // so that no record overtakes another.
    [[nodiscard]] bool reserve(std::size_t count) noexcept { return settle_owed() && grow(count); }
    // Precondition: reserve() has promised the place.
    void push(Ready&& ready) noexcept {
        assert(records_.size() < records_.capacity());
        records_.push_back(std::move(ready));
    }
    void completed(Operation& op) noexcept {
        if (!reserve(1)) {
            op.next_finished = nullptr;
            (last_op_ != nullptr ? last_op_->next_finished : first_op_) = &op;
            last_op_ = &op;
            return;
        }
        push(record(op));
    }
    void closed(Socket& socket) noexcept {
        if (!reserve(1)) {
            socket.next_closed = nullptr;
            (last_socket_ != nullptr ? last_socket_->next_closed : first_socket_) = &socket;
            last_socket_ = &socket;
            return;
        }
        push(record(socket));
    }

    // Makes records of what waits for memory. Whether nothing waits any more.
    bool settle_owed() noexcept {
        if (!owes()) {
            return true;
        }
        while (owes() && grow(1)) {
            if (first_op_ != nullptr) {
                Operation& op = *first_op_;
                first_op_ = op.next_finished;
                op.next_finished = nullptr;
                push(record(op));
            } else {
                // After every operation: a socket's end is the last that is told of it.
                last_op_ = nullptr;
                Socket& socket = *first_socket_;
                first_socket_ = socket.next_closed;
                socket.next_closed = nullptr;
                push(record(socket));
            }
        }
        if (first_op_ == nullptr) {
            last_op_ = nullptr;
        }
        if (first_socket_ == nullptr) {
            last_socket_ = nullptr;
        }
        return !owes();
    }
    [[nodiscard]] bool owes() const noexcept {
        return first_op_ != nullptr || first_socket_ != nullptr;
    }
    [[nodiscard]] std::size_t size() const noexcept {
        std::size_t count = records_.size();
        for (const Operation* op = first_op_; op != nullptr; op = op->next_finished) {
            ++count;
        }
        for (const Socket* socket = first_socket_; socket != nullptr;
             socket = socket->next_closed) {
            ++count;
        }
        return count;
    }
    [[nodiscard]] bool empty() const noexcept { return records_.empty() && !owes(); }
    // Whoever takes records from here takes them from the front.
    [[nodiscard]] std::vector<Ready>& records() noexcept { return records_; }

private:
    static constexpr std::size_t least = 16;

    static Ready record(Operation& op) noexcept {
        Ready ready;
        ready.what = Ready::What::completed;
        ready.op = &op;
        ready.socket = op.socket;
        return ready;
    }
    static Ready record(Socket& socket) noexcept {
        Ready ready;
        ready.what = Ready::What::closed;
        ready.socket = &socket;
        return ready;
    }
    [[nodiscard]] bool grow(std::size_t count) noexcept {
        const std::size_t wanted = records_.size() + count;
        if (wanted <= records_.capacity()) {
            return true;
        }
        try {
            records_.reserve(std::max({wanted, 2 * records_.capacity(), least}));
            return true;
        } catch (const std::bad_alloc&) {
            return false;
        }
    }

    std::vector<Ready> records_;
    Operation* first_op_{nullptr};
    Operation* last_op_{nullptr};
    Socket* first_socket_{nullptr};
    Socket* last_socket_{nullptr};
};

}  // namespace iocp
