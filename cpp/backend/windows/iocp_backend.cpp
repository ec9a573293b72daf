#include "backend/windows/iocp_backend.hpp"

#include "backend/system_error.hpp"
#include "backend/windows/call.hpp"
#include "backend/windows/stream_end.hpp"

namespace iocp {

std::unique_ptr<IocpBackend> IocpBackend::create(const Winsock& winsock,
                                                 const BackendOptions& options,
                                                 std::string& reason) {
    std::unique_ptr<IocpBackend> made(new IocpBackend(winsock, options));
    if (const DWORD code = made->port_.open(); code != 0) {
        reason = "CreateIoCompletionPort: " + error_text(static_cast<int>(code));
        return nullptr;
    }
    return made;
}

// Waits until the accepts of closed listeners have reported, because the kernel owns those requests
// until then. Precondition: every socket is closed or detached.
IocpBackend::~IocpBackend() {
    std::vector<Packet> ignored;
    const std::int64_t patience = now() + 5'000'000'000;
    while (!listeners_.empty() && now() < patience) {
        publish();
        wait(100'000'000);
        reap(ignored);
        ignored.clear();
    }
    if (requests_.taken() != 0) {
        // The kernel may still write to these requests, so they are leaked, not freed.
        (void)new RequestPool(std::move(requests_));
    }
}

// Asks the system to end the request of an operation. The packet of the request still follows. It
// reports success if the request has already finished.
void IocpBackend::cancel(Operation& op) {
    if (op.kind == OperationKind::accept || op.kind == OperationKind::accept_each) {
        answers_.reserve(answers_.size() + 1);
        listeners_.cancel(op.socket->id);
        Packet packet;
        packet.operation = op.id;
        packet.result = cancel_code();
        answers_.push_back(std::move(packet));
        return;
    }
    const Member* member = members_.find(op.socket->id);
    Request* request = member == nullptr ? nullptr
                       : op.sending()    ? member->sending
                                         : member->receiving;
    if (request != nullptr) {
        end(*member, *request);
    }
}

// Asks the system to cancel a request of a socket that has joined the completion port. Wakes a wait
// that would be too long to repeat the cancel.
void IocpBackend::end(const Member& member, Request& request) noexcept {
    if (cancels_.asked(request, *this) && waiting_) {
        wake();  // the next wait is short enough to repeat the cancel
    }
    ask(member, request);
}

void IocpBackend::ask(const Member& member, Request& request) const noexcept {
    if (request.poll != nullptr) {
        readiness_.cancel(request);
    } else if (request.object != nullptr) {
        request.object->cancel();
    } else {
        (void)winsock_.cancel(handle_of(member.socket), &request.overlapped);
    }
}

int IocpBackend::shutdown(Socket& socket, bool receiving, bool sending) {
    if (const int code = WindowsBackend::shutdown(socket, receiving, sending); code != 0) {
        return code;
    }
    Member* member = receiving ? members_.find(socket.id) : nullptr;
    if (member != nullptr && member->receiving != nullptr) {
        // Windows lets a receive in the kernel wait for ever after a shutdown, so the receive is
        // cancelled.
        member->deaf = true;
        end(*member, *member->receiving);
    }
    return 0;
}

void IocpBackend::leave(const Socket& socket) {
    if (members_.leave(socket)) {
        listeners_.end(socket.id);
    }
}

void IocpBackend::detach(Socket& socket) {
    leave(socket);
    WindowsBackend::detach(socket);
}

void IocpBackend::close(Socket& socket) {
    leave(socket);
    WindowsBackend::close(socket);
}

void IocpBackend::publish() {
    interrupt_.begin();
    waiting_ = true;
    max_wait_ns_ = !answers_.empty() ? 0 : cancels_.max_wait();
}

void IocpBackend::wait(std::int64_t timeout_ns) {
    if (max_wait_ns_ >= 0 && (timeout_ns < 0 || timeout_ns > max_wait_ns_)) {
        timeout_ns = max_wait_ns_;
    }
    port_.wait(timeout_ns);
}

int IocpBackend::failure_of(const Member& member, Request& request) noexcept {
    if (request.poll != nullptr) {
        return ReadinessWaits::failure_of(request);
    }
    if (request.object != nullptr) {
        return request.object->was_cancelled() ? WSA_OPERATION_ABORTED : 0;
    }
    return code_of_socket(iocp::failure_of(member.socket, request), member.stream);
}

void IocpBackend::packet_of(Member& member, Request& request, DWORD bytes,
                            std::vector<Packet>& out) {
    if (member.pipe) {
        packet_of_pipe(member, request, bytes, out);
        return;
    }
    const bool receiving = request.kind == OperationKind::receive ||
                           request.kind == OperationKind::zero_byte ||
                           request.kind == OperationKind::receive_each;
    Request*& place = receiving ? member.receiving : member.sending;
    place = nullptr;
    int code = failure_of(member, request);
    if (member.stream && bytes == 0 && lost_with_its_thread(request)) {
        code = WSAECONNABORTED;
    }
    Packet packet;
    packet.operation = request.operation;
    packet.result = static_cast<std::int64_t>(bytes);
    if (member.deaf && receiving && code_cancelled(code)) {
        code = 0;
        bytes = 0;
    }
    if (request.poll != nullptr || request.object != nullptr) {
        packet.result = 0;
        packet.ready = request.readiness_only;  // true: a send waited for room, and is started now
    } else if (receiving && !request.readiness_only && member.stream && code == 0 && bytes == 0 &&
               !member.deaf) {
        packet.ready = !at_end(member.socket);
        code = !packet.ready && was_reset(member.socket) ? WSAECONNRESET : 0;
    } else if (request.readiness_only && !code_cancelled(code)) {
        // The readiness wait found something. The following read will return any error.
        member.pending_error = code == WSAEMSGSIZE ? 0 : code;
        packet.ready = request.kind != OperationKind::zero_byte;
        packet.result = 0;
        code = 0;
    } else if (request.kind == OperationKind::connect && code == 0) {
        code = connected(member.socket);
        packet.result = 0;
    } else if (code == WSAEMSGSIZE && receiving) {
        code = 0;
        packet.flags = MSG_TRUNC;
    } else if (request.kind == OperationKind::send && bytes != 0) {
        code = 0;  // the sent part of a cancelled send counts
    }
    if (code != 0) {
        packet.result = -static_cast<std::int64_t>(code);
    }
    out.push_back(std::move(packet));
}

// Ignores a packet whose socket this backend no longer knows. The handle of a detached socket stays
// associated with the completion port, which therefore also gets the packets of the handle's next
// owner.
void IocpBackend::complete(const OVERLAPPED_ENTRY& entry, std::vector<Packet>& out) {
    const bool announced = entry.lpCompletionKey == CompletionPort::announced_key;
    const bool of_a_request = announced || entry.lpCompletionKey == CompletionPort::readiness_key;
    const SlotId name = of_a_request ? reinterpret_cast<const Request*>(entry.lpOverlapped)->socket
                                     : SlotId::unpack(entry.lpCompletionKey);
    Member* member = members_.find(name);
    Listener* listener = listeners_.find(name);
    if (member == nullptr && listener == nullptr) {
        return;
    }
    auto& request = *reinterpret_cast<Request*>(entry.lpOverlapped);
    if (request.announced && !announced) {
        return;
    }
    if (request.kind == OperationKind::accept) {
        listeners_.complete(*listener, request, out);
        return;
    }
    if (!request.answered) {
        packet_of(*member, request, entry.dwNumberOfBytesTransferred, out);
    }
    cancels_.over(request);
    requests_.give_back(request);
}

// The thread that waits takes the port's packets itself.
void IocpBackend::take_cancelled(std::vector<Packet>& out) {
    if (!waiting_) {
        port_.wait(0);
        take_packets(out);
    }
}

void IocpBackend::take_packets(std::vector<Packet>& out) {
    out.reserve(out.size() + answers_.size() + port_.packets().size());
    for (Packet& packet : answers_) {
        out.push_back(std::move(packet));
    }
    answers_.clear();
    for (const OVERLAPPED_ENTRY& entry : port_.packets()) {
        if (entry.lpOverlapped != nullptr) {  // otherwise it is a wake
            complete(entry, out);
        }
    }
    port_.clear();
}

void IocpBackend::reap(std::vector<Packet>& out) {
    waiting_ = false;
    take_packets(out);
    if (cancels_.due(*this)) {
        members_.each_request([this](const Member& member, Request& request) {
            if (request.cancelled) {
                ask(member, request);
            }
        });
        cancels_.repeated(*this);
    }
    interrupt_.renew();
}

}  // namespace iocp
