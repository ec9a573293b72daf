#include "backend/windows/iocp_backend.hpp"

#include <algorithm>
#include <new>

#include "backend/system_error.hpp"
#include "backend/windows/call.hpp"

namespace iocp {

namespace {

HANDLE handle_of(SOCKET socket) noexcept { return reinterpret_cast<HANDLE>(socket); }

constexpr ULONG afd_poll_code = 0x0001'2024;
// Room to send, and every event after which there never will be any.
constexpr ULONG afd_room = 0x0004 | 0x0010 | 0x0020 | 0x0100;

// Returns whether the socket's provider makes IFS handles.
bool of_the_system(SOCKET socket) noexcept {
    WSAPROTOCOL_INFOW info{};
    int length = sizeof info;
    return ::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info),
                        &length) == 0 &&
           (info.dwServiceFlags1 & XP1_IFS_HANDLES) != 0;
}

// The time from a cancel to its repetition.
constexpr std::int64_t cancel_patience_ns = 10'000'000;

// Rounds up, so that no wait ends early.
DWORD milliseconds(std::int64_t nanoseconds) noexcept {
    constexpr std::int64_t longest = 0x7fff'ffff;
    if (nanoseconds < 0) {
        return INFINITE;
    }
    const std::int64_t rounded = (nanoseconds + 999'999) / 1'000'000;
    return static_cast<DWORD>(rounded < longest ? rounded : longest);
}

}  // namespace

IocpBackend::IocpBackend(const Winsock& winsock, const BackendOptions& options, HANDLE port)
    : winsock_(winsock), port_(port), posted_accepts_(options.posted_accepts) {}

std::unique_ptr<IocpBackend> IocpBackend::create(const Winsock& winsock,
                                                 const BackendOptions& options,
                                                 std::string& reason) {
    const HANDLE port = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 0);
    if (port == nullptr) {
        reason = "CreateIoCompletionPort: " + error_text(static_cast<int>(::GetLastError()));
        return nullptr;
    }
    return std::unique_ptr<IocpBackend>(new IocpBackend(winsock, options, port));
}

// Precondition: every socket is closed or detached. The accepts of closed listeners must still
// report, because the kernel owns those requests until then.
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
        // The kernel may still write to them: a leak is the lesser evil.
        (void)new RequestPool(std::move(requests_));
    }
    if (interrupt_.registration != nullptr) {
        // Waits until no callback runs, because a callback writes to this object and to the port.
        (void)::UnregisterWaitEx(interrupt_.registration, INVALID_HANDLE_VALUE);
    }
    if (afd_ != INVALID_HANDLE_VALUE) {
        (void)::CloseHandle(afd_);
    }
    (void)::CloseHandle(port_);
}

void CALLBACK IocpBackend::interrupted(void* self, BOOLEAN /*timed_out*/) {
    auto& backend = *static_cast<IocpBackend*>(self);
    backend.interrupt_.seen.store(true);
    backend.wake();
}

// Precondition: the interpreter has not checked for signals since the interrupted wait. So it also
// finds a signal that comes before the event is reset.
void IocpBackend::await_interrupt() {
    if (interrupt_.event == nullptr) {
        return;
    }
    if (interrupt_.registration != nullptr) {
        if (!interrupt_.seen.exchange(false)) {
            return;
        }
        (void)::UnregisterWaitEx(interrupt_.registration, INVALID_HANDLE_VALUE);
        interrupt_.registration = nullptr;
        (void)::ResetEvent(interrupt_.event);
    }
    (void)::RegisterWaitForSingleObject(&interrupt_.registration, interrupt_.event, interrupted,
                                        this, INFINITE, WT_EXECUTEONLYONCE);
}

IocpBackend::Member* IocpBackend::member_of(SlotId socket) noexcept {
    if (socket.slot >= members_.size()) {
        return nullptr;
    }
    Member& member = members_[socket.slot];
    const bool same = member.socket != INVALID_SOCKET && member.id.packed() == socket.packed();
    return same ? &member : nullptr;
}

// Joins the socket to this port. Its packets carry the socket's name from now on.
int IocpBackend::join(Socket& socket) {
    if (member_of(socket.id) != nullptr) {
        return 0;
    }
    const SOCKET handle = socket_of(socket);
    if (members_.size() <= socket.id.slot) {
        members_.resize(socket.id.slot + 64);
    }
    if (winsock_.attach(handle_of(handle), port_, socket.id.packed(), 0) == nullptr) {
        return winsock_code(::GetLastError());
    }
    Member& member = members_[socket.id.slot];
    member = {};
    member.socket = handle;
    member.id = socket.id;
    member.stream = socket.stream;
    // Only where the provider's sockets are system handles: a layer above them would queue its own
    // packets (Microsoft, SetFileCompletionNotificationModes, remarks).
    member.skips =
        of_the_system(handle) &&
        winsock_.set_modes(handle_of(handle), FILE_SKIP_COMPLETION_PORT_ON_SUCCESS |
                                                  FILE_SKIP_SET_EVENT_ON_HANDLE) != FALSE;
    return 0;
}

Request* IocpBackend::new_request(Operation& op) noexcept {
    Request* request = requests_.take();
    if (request != nullptr) {
        request->socket = op.socket->id;
        request->operation = op.id;
        request->kind = op.kind;
        request->readiness_only = op.readiness_only || op.kind == OperationKind::zero_byte;
    }
    return request;
}

// Returns the result of the call that started a request. The kernel owns the request until its
// packet. Where none will come, the request returns to the pool.
StartResult IocpBackend::started(Operation& op, Request& request, bool at_once, DWORD bytes) {
    Member& member = *member_of(op.socket->id);
    const int code = at_once ? 0 : code_of_socket(last_error(), member.stream);
    if (at_once && member.skips) {
        requests_.give_back(request);
        return {Start::done, static_cast<std::int64_t>(bytes)};
    }
    if (at_once || code == WSA_IO_PENDING) {
        (op.sending() ? member.sending : member.receiving) = &request;
        return {};
    }
    if (code == WSAEMSGSIZE && !op.sending()) {
        // A datagram was longer than its room. Its packet is queued as well.
        request.answered = true;
        return request.readiness_only ? StartResult{Start::done, 0} : cut(op.remaining());
    }
    requests_.give_back(request);
    return failed(code);
}

StartResult IocpBackend::receive(Operation& op) {
    Member& member = *member_of(op.socket->id);
    if (op.readiness_only && op.kind == OperationKind::receive) {
        return watch(op);
    }
    if (op.readiness_only || op.kind == OperationKind::zero_byte) {
        return look(op);
    }
    if (member.pending_error != 0) {
        return receive_now(op);  // never pending: returns data or that error
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    CallBuffers buffers;
    buffers.add(op);
    DWORD bytes = 0;
    const bool at_once =
        call_receive(op, buffers, receive_flags(op), bytes, &request->overlapped) == 0;
    const StartResult result = checked(*op.socket, started(op, *request, at_once, bytes));
    if (result.start == Start::done) {
        take_sender(op);
    }
    return result;
}

// Starts a readiness wait. A datagram socket's error counts as readiness: the following read
// returns it.
StartResult IocpBackend::look(Operation& op) {
    Member& member = *member_of(op.socket->id);
    if (member.pending_error != 0) {
        return {Start::done, 0};
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    CallBuffers buffers;
    WSABUF* first = buffers.data();
    // A receive without room would lose the datagram, so it peeks.
    DWORD flags = op.socket->stream ? 0 : MSG_PEEK;
    DWORD bytes = 0;
    const bool at_once = winsock_.receive(socket_of(*op.socket), first, buffers.count(), &bytes,
                                          &flags, &request->overlapped, nullptr) == 0;
    const StartResult result = started(op, *request, at_once, bytes);
    if (result.start == Start::failed && !op.socket->stream) {
        member.pending_error = static_cast<int>(result.value);
        return {Start::done, 0};
    }
    return result;
}

// Reads at once if the socket is readable, because a receive that is done has its bytes. If the
// read then finds nothing, the next turn starts the receive again.
StartResult IocpBackend::watch(Operation& op) {
    const StartResult seen = look(op);
    if (seen.start != Start::done) {
        return seen;
    }
    const StartResult read = receive_now(op);
    if (read.start == Start::pending) {
        Packet packet;
        packet.operation = op.id;
        packet.ready = true;
        answers_.push_back(std::move(packet));
    }
    return read;
}

StartResult IocpBackend::send(Operation& op, unsigned count) {
    if (!can_send(*op.socket)) {
        return failed(WSAENOTCONN);
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    CallBuffers buffers;
    buffers.add(op, count);
    DWORD bytes = 0;
    const bool at_once = call_send(op, buffers, bytes, &request->overlapped) == 0;
    return started(op, *request, at_once, bytes);
}

StartResult IocpBackend::connect(Operation& op) {
    Socket& socket = *op.socket;
    const auto& address = *reinterpret_cast<const Address*>(op.lease.data);
    const auto* where = reinterpret_cast<const sockaddr*>(address.bytes.data());
    const SOCKET handle = socket_of(socket);
    op.asked = true;
    if (!socket.stream) {
        return winsock_.connect(handle, where, static_cast<int>(address.length)) == 0
                   ? StartResult{Start::done, 0}
                   : failed(last_error());
    }
    // ConnectEx needs a bound socket.
    sockaddr_storage own_name{};
    int length = sizeof own_name;
    if (::getsockname(handle, reinterpret_cast<sockaddr*>(&own_name), &length) != 0 ||
        own_name.ss_family == 0) {
        own_name = {};
        own_name.ss_family = static_cast<ADDRESS_FAMILY>(socket.family);
        length = socket.family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
        if (winsock_.bind(handle, reinterpret_cast<const sockaddr*>(&own_name), length) != 0) {
            return failed(last_error());
        }
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    DWORD bytes = 0;
    const bool at_once = winsock_.connect_ex(handle, where, static_cast<int>(address.length),
                                             nullptr, 0, &bytes, &request->overlapped) != FALSE;
    const StartResult result = started(op, *request, at_once, 0);
    if (result.start != Start::done) {
        return result;
    }
    const int code = connected(handle);
    return code == 0 ? result : failed(code);
}

// Without this option the socket has no peer and cannot be shut down (Microsoft, ConnectEx,
// remarks).
int IocpBackend::connected(SOCKET socket) const noexcept {
    return winsock_.set_option(socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, nullptr, 0) == 0
               ? 0
               : last_error();
}

// A cancelled ConnectEx leaves a socket that cannot connect again, and the system below Wine 8.0
// continues the attempt. Only closing the socket ends it; a peer that it reached gets a reset.
int IocpBackend::withdraw(Operation& op) {
    if (!op.asked || !op.socket->stream) {
        return 0;
    }
    reset_on_close(*op.socket);
    return WSAECONNABORTED;
}

StartResult IocpBackend::start(Operation& op, unsigned count) {
    if (const int code = join(*op.socket); code != 0) {
        return failed(code);
    }
    switch (op.kind) {
        case OperationKind::receive:
        case OperationKind::zero_byte:
        case OperationKind::receive_each:
            return receive(op);
        case OperationKind::send:
            if (op.from_file) {
                return send_file(op);
            }
            return op.readiness_only ? wait_for_room(op) : send(op, count);
        case OperationKind::connect:
            return connect(op);
        case OperationKind::disconnect:
            return disconnect(op);
        case OperationKind::writable:
            return wait_for_room(op);
        case OperationKind::accept:
        case OperationKind::accept_each:
            return accept(op);
    }
    return failed(WSAEINVAL);
}

// The packet of the request still follows. It reports success if the request has already finished.
void IocpBackend::cancel(Operation& op) {
    if (op.kind == OperationKind::accept || op.kind == OperationKind::accept_each) {
        answers_.reserve(answers_.size() + 1);
        if (Listener* listener = listener_of(op.socket->id)) {
            listener->is_awaited = false;
            for (Request* at = listener->first; at != nullptr; at = at->next) {
                (void)winsock_.cancel(handle_of(listener->handle), &at->overlapped);
            }
        }
        Packet packet;
        packet.operation = op.id;
        packet.result = cancel_code();
        answers_.push_back(std::move(packet));
        return;
    }
    const Member* member = member_of(op.socket->id);
    Request* request = member == nullptr ? nullptr
                       : op.sending()    ? member->sending
                                         : member->receiving;
    if (request != nullptr) {
        end(*member, *request);
    }
}

// Asks the system to end a request of this member.
void IocpBackend::end(const Member& member, Request& request) noexcept {
    if (!request.cancelled) {
        request.cancelled = true;
        if (open_cancels_ == 0) {
            repeat_at_ = now() + cancel_patience_ns;
            if (waiting_) {
                wake();  // the next wait is short
            }
        }
        ++open_cancels_;
    }
    (void)winsock_.cancel(request.kind == OperationKind::writable ? afd_ : handle_of(member.socket),
                          &request.overlapped);
}

// Wine 8.0 loses a cancel that comes while it continues a partly finished request, and keeps the
// request pending. Its operation would never complete, and the port could never close. A repeated
// cancel of a request that is cancelled already does nothing.
void IocpBackend::repeat_cancels() noexcept {
    for (const Member& member : members_) {
        for (Request* request : {member.receiving, member.sending}) {
            if (request != nullptr && request->cancelled) {
                end(member, *request);
            }
        }
    }
    repeat_at_ = now() + cancel_patience_ns;
}

void IocpBackend::publish() {
    if (interrupt_.registration == nullptr) {
        await_interrupt();
    }
    waiting_ = true;
    max_wait_ns_ = !answers_.empty() ? 0 : open_cancels_ != 0 ? cancel_patience_ns : -1;
}

void IocpBackend::wait(std::int64_t timeout_ns) {
    if (entry_count_ != 0) {
        return;  // the last wait's packets are still untaken for lack of memory
    }
    if (max_wait_ns_ >= 0 && (timeout_ns < 0 || timeout_ns > max_wait_ns_)) {
        timeout_ns = max_wait_ns_;
    }
    ULONG count = 0;
    const BOOL good =
        ::GetQueuedCompletionStatusEx(port_, entries_.data(), static_cast<ULONG>(entries_.size()),
                                      &count, milliseconds(timeout_ns), FALSE);
    entry_count_ = good != FALSE ? count : 0;
}

int IocpBackend::open_afd() {
    if (afd_ != INVALID_HANDLE_VALUE) {
        return 0;
    }
    // The rest of the name is ours and only distinguishes handles.
    wchar_t text[] = L"\\Device\\Afd\\iocp_sock";
    UNICODE_STRING name{};
    name.Buffer = text;
    name.Length = sizeof text - sizeof text[0];
    name.MaximumLength = name.Length;
    OBJECT_ATTRIBUTES attributes{};
    attributes.Length = sizeof attributes;
    attributes.ObjectName = &name;
    IO_STATUS_BLOCK status{};
    HANDLE made = nullptr;
    const NTSTATUS opened =
        ::NtCreateFile(&made, SYNCHRONIZE, &attributes, &status, nullptr, 0,
                       FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN, 0, nullptr, 0);
    if (opened != 0) {
        return winsock_code(::RtlNtStatusToDosError(opened));
    }
    if (::CreateIoCompletionPort(made, port_, afd_key, 0) == nullptr) {
        const int code = winsock_code(::GetLastError());
        (void)::CloseHandle(made);
        return code;
    }
    afd_ = made;
    return 0;
}

// Asks AFD for writability, as select() does. Microsoft's text does not promise that a zero-byte
// WSASend waits.
StartResult IocpBackend::wait_for_room(Operation& op) {
    if (const int code = open_afd(); code != 0) {
        return failed(code);
    }
    Member& member = *member_of(op.socket->id);
    SOCKET base = INVALID_SOCKET;
    DWORD length = 0;
    if (::WSAIoctl(member.socket, SIO_BASE_HANDLE, nullptr, 0, &base, sizeof base, &length, nullptr,
                   nullptr) != 0) {
        base = member.socket;
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    request->kind = OperationKind::writable;  // also for a send that waits before it starts
    request->poll.reset(new (std::nothrow) AfdPoll{});
    if (request->poll == nullptr) {
        requests_.give_back(*request);
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    AfdPoll& poll = *request->poll;
    poll.timeout.QuadPart = INT64_MAX;
    poll.count = 1;
    poll.socket = handle_of(base);
    poll.events = afd_room;
    auto& overlapped = request->overlapped;
    overlapped.Internal = static_cast<ULONG_PTR>(STATUS_PENDING);
    const NTSTATUS status = winsock_.control(afd_, nullptr, nullptr, &overlapped,
                                             reinterpret_cast<IO_STATUS_BLOCK*>(&overlapped),
                                             afd_poll_code, &poll, sizeof poll, &poll, sizeof poll);
    if (status < 0) {
        requests_.give_back(*request);
        return failed(winsock_code(::RtlNtStatusToDosError(status)));
    }
    member.sending = request;  // its packet follows, answered at once or not
    return {};
}

// Returns the failure of the poll itself. An error of the socket counts as room: the following send
// returns it.
int IocpBackend::poll_failure(const Request& request) noexcept {
    const auto status = static_cast<NTSTATUS>(request.overlapped.Internal);
    return status < 0 ? winsock_code(::RtlNtStatusToDosError(status)) : 0;
}

// Returns whether a receive of no bytes is the end of the stream. Under Wine 8.0 it may also mean
// that the posting thread ended while data came. The data is then still there.
bool IocpBackend::at_end(SOCKET socket) noexcept {
    char byte = 0;
    return ::recv(socket, &byte, 1, MSG_PEEK) == 0;
}

// Returns whether a send's packet came before the send ended. Under Wine 8.0 it does when the
// posting thread has ended, and it does not say how many bytes went. The stream cannot go on behind
// them.
bool IocpBackend::lost_with_its_thread(const Request& request) noexcept {
    return request.kind == OperationKind::send && !request.readiness_only &&
           static_cast<NTSTATUS>(request.overlapped.Internal) == STATUS_PENDING;
}

int IocpBackend::failure_of(SOCKET socket, Request& request) const noexcept {
    if (static_cast<LONG>(request.overlapped.Internal) >= 0) {
        return 0;
    }
    DWORD bytes = 0;
    DWORD flags = 0;
    if (::WSAGetOverlappedResult(socket, &request.overlapped, &bytes, FALSE, &flags) != FALSE) {
        return 0;
    }
    return last_error();
}

void IocpBackend::packet_of(Member& member, Request& request, DWORD bytes,
                            std::vector<Packet>& out) {
    const bool receiving = request.kind == OperationKind::receive ||
                           request.kind == OperationKind::zero_byte ||
                           request.kind == OperationKind::receive_each;
    Request*& place = receiving ? member.receiving : member.sending;
    place = nullptr;
    int code = request.kind == OperationKind::writable
                   ? poll_failure(request)
                   : code_of_socket(failure_of(member.socket, request), member.stream);
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
    if (request.kind == OperationKind::writable) {
        packet.result = 0;
        packet.ready = request.readiness_only;  // a send that waited for room before it starts
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

void IocpBackend::reap(std::vector<Packet>& out) {
    waiting_ = false;
    out.reserve(out.size() + answers_.size() + entry_count_);
    for (Packet& packet : answers_) {
        out.push_back(std::move(packet));
    }
    answers_.clear();
    for (ULONG i = 0; i < entry_count_; ++i) {
        const OVERLAPPED_ENTRY& entry = entries_[i];
        if (entry.lpOverlapped == nullptr) {
            continue;  // a wake
        }
        // Takes only packets whose name is still known here. The handle of a detached socket stays
        // bound to the port, so its next owner's requests report here too.
        const bool of_a_request =
            entry.lpCompletionKey == afd_key || entry.lpCompletionKey == announced_key;
        const SlotId name = of_a_request
                                ? reinterpret_cast<const Request*>(entry.lpOverlapped)->socket
                                : SlotId::unpack(entry.lpCompletionKey);
        Member* member = member_of(name);
        Listener* listener = listener_of(name);
        if (member == nullptr && listener == nullptr) {
            continue;
        }
        auto& request = *reinterpret_cast<Request*>(entry.lpOverlapped);
        if (request.announced && entry.lpCompletionKey != announced_key) {
            continue;
        }
        if (request.kind == OperationKind::accept) {
            accept_packet(*listener, request, out);
        } else {
            if (!request.answered) {
                packet_of(*member, request, entry.dwNumberOfBytesTransferred, out);
            }
            open_cancels_ -= request.cancelled ? 1U : 0U;
            requests_.give_back(request);
        }
    }
    entry_count_ = 0;
    if (open_cancels_ != 0 && now() >= repeat_at_) {
        repeat_cancels();
    }
    await_interrupt();
}

void IocpBackend::wake() noexcept {
    (void)::PostQueuedCompletionStatus(port_, 0, wake_key, nullptr);
}

std::int64_t IocpBackend::now() const noexcept {
    static const std::int64_t frequency = [] {
        LARGE_INTEGER value{};
        (void)::QueryPerformanceFrequency(&value);
        return value.QuadPart;
    }();
    LARGE_INTEGER count{};
    (void)::QueryPerformanceCounter(&count);
    constexpr std::int64_t second = 1'000'000'000;
    return (count.QuadPart / frequency) * second +
           (count.QuadPart % frequency) * second / frequency;
}

// Windows locks the buffers of every request in the kernel, page by page, until it ends.
std::uint32_t IocpBackend::kernel_locked(const Operation& op) const noexcept {
    return op.state.load(std::memory_order_relaxed) == State::queued ? 0 : op.receipt.pages();
}

}  // namespace iocp
