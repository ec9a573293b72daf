#include "core/ready_queue.hpp"

#include <algorithm>
#include <new>

namespace iocp {

bool ReadyQueue::queue_owed() noexcept {
    while (owes() && grow(1)) {
        if (first_op_ != nullptr) {
            Operation& op = *first_op_;
            first_op_ = op.next_finished;
            op.next_finished = nullptr;
            push(record(op));
        } else {
            // Queues the records of sockets after those of all operations, because no record of a
            // socket may follow its `closed` record.
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

bool ReadyQueue::reallocate(std::size_t count) noexcept {
    try {
        records_.reserve(std::max({records_.size() + count, 2 * records_.capacity(), minimum}));
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace iocp
