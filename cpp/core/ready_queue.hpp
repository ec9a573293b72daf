#pragma once

#include <cassert>
#include <cstddef>
#include <utility>
#include <vector>

#include "core/ready.hpp"

namespace iocp {

// The records that a port has for its application, in order. The record of an ended operation or
// socket cannot get lost: without memory for it, the operation or socket itself waits in a linked
// list. Every other record needs a successful reserve() before its result is taken from the system.
class ReadyQueue {
public:
    // Reserves room for `count` more records. Returns false without memory. Returns false also
    // while an older record waits for memory, so that no record overtakes another.
    [[nodiscard]] bool reserve(std::size_t count) noexcept { return settle_owed() && grow(count); }
    // Adds a record. Precondition: reserve() has returned true for this record.
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

    // Queues the records that waited for memory, of operations and sockets that have ended. Returns
    // false if one still waits.
    bool settle_owed() noexcept { return !owes() || queue_owed(); }
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
    // Returns the records in order. Callers take them from the front.
    [[nodiscard]] std::vector<Ready>& records() noexcept { return records_; }

private:
    static constexpr std::size_t minimum = 16;

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
        return records_.capacity() - records_.size() >= count || reallocate(count);
    }
    // Queues the records that waited for memory, as far as there is memory now. Returns whether
    // none is left.
    bool queue_owed() noexcept;
    // Separate from grow(), which runs for every record, so that grow() is small enough to be
    // inlined.
    [[nodiscard]] bool reallocate(std::size_t count) noexcept;

    std::vector<Ready> records_;
    Operation* first_op_{nullptr};
    Operation* last_op_{nullptr};
    Socket* first_socket_{nullptr};
    Socket* last_socket_{nullptr};
};

}  // namespace iocp
