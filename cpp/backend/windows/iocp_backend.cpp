#include "backend/windows/iocp_backend.hpp"

#include <algorithm>
#include <new>

#include "backend/system_error.hpp"
#include "backend/windows/call.hpp"

namespace iocp {

namespace {

HANDLE handle_of(SOCKET socket) noexcept { return reinterpret_cast<HANDLE>(socket); }

constexpr ULONG afd_poll_code = 0x0001'2024;
// Room to send, and every way in which there will never be any.
constexpr ULONG afd_room = 0x0004 | 0x0010 | 0x0020 | 0x0100;

// Whether the socket's provider is an IFS one.
bool of_the_system(SOCKET socket) noexcept {
    WSAPROTOCOL_INFOW info{};
    int length = sizeof info;
    return ::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info),
                        &length) == 0 &&
           (info.dwServiceFlags1 & XP1_IFS_HANDLES) != 0;
}

// Waits end no earlier than asked.
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

// Precondition: every socket was closed or detached. What closed listeners had posted is still to
// report: the kernel owns those requests until then.
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
        // Returns when no callback runs any more: it writes to this object and to the port.
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

// Precondition: the interpreter has not looked for signals since the wait that was interrupted, so
// that a signal which comes before the event is reset is found all the same.
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

// The socket's packets come to this port from here on, under the socket's name.
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
    // Only where the provider's sockets are handles of the system: a layer above them would queue
    // packets of its own (Microsoft, SetFileCompletionNotificationModes, remarks).
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
        request->looking = op.watching || op.kind == Kind::zero_byte;
    }
    return request;
}

// What the call that started a request came to. The request is the kernel's until its packet, or,
// where none will come, back in the pool.
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
        // A datagram longer than its room: its packet is queued as well.
        request.answered = true;
        return request.looking ? StartResult{Start::done, 0} : cut(op.remaining());
    }
    requests_.give_back(request);
    return failed(code);
}

StartResult IocpBackend::receive(Operation& op) {
    Member& member = *member_of(op.socket->id);
    if (op.watching && op.kind == Kind::receive) {
        return watch(op);
    }
    if (op.watching || op.kind == Kind::zero_byte) {
        return look(op);
    }
    if (member.pending_error != 0) {
        return receive_now(op);  // never pending: what is there, or that error
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    Parts parts;
    parts.add(op);
    DWORD bytes = 0;
    const bool at_once =
        call_receive(op, parts, receive_flags(op), bytes, &request->overlapped) == 0;
    const StartResult result = checked(*op.socket, started(op, *request, at_once, bytes));
    if (result.start == Start::done) {
        take_sender(op);
    }
    return result;
}

// Readiness, and what an error of a datagram socket is as well: the read that follows has it.
StartResult IocpBackend::look(Operation& op) {
    Member& member = *member_of(op.socket->id);
    if (member.pending_error != 0) {
        return {Start::done, 0};
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    Parts parts;
    WSABUF* first = parts.data();
    // A datagram would be lost to a receive without room: it is only looked at.
    DWORD flags = op.socket->stream ? 0 : MSG_PEEK;
    DWORD bytes = 0;
    const bool at_once = winsock_.receive(socket_of(*op.socket), first, parts.count(), &bytes,
                                          &flags, &request->overlapped, nullptr) == 0;
    const StartResult result = started(op, *request, at_once, bytes);
    if (result.start == Start::failed && !op.socket->stream) {
        member.pending_error = static_cast<int>(result.value);
        return {Start::done, 0};
    }
    return result;
}

// What is found at once is read at once: a receive that is done has its bytes. Where the read finds
// nothing after all, the next turn starts it again.
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
    Parts parts;
    parts.add(op, count);
    DWORD bytes = 0;
    const bool at_once = call_send(op, parts, bytes, &request->overlapped) == 0;
    return started(op, *request, at_once, bytes);
}

StartResult IocpBackend::connect(Operation& op) {
    Socket& socket = *op.socket;
    const auto& address = *reinterpret_cast<const Address*>(op.lease.data);
    const auto* where = reinterpret_cast<const sockaddr*>(address.bytes.data());
    const SOCKET handle = socket_of(socket);
    op.begun = true;
    if (!socket.stream) {
        return winsock_.connect(handle, where, static_cast<int>(address.length)) == 0
                   ? StartResult{Start::done, 0}
                   : failed(last_error());
    }
    // ConnectEx wants a bound socket.
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

// Without it the socket has no peer and cannot be shut down (Microsoft, ConnectEx, remarks).
int IocpBackend::connected(SOCKET socket) const noexcept {
    return winsock_.set_option(socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, nullptr, 0) == 0
               ? 0
               : last_error();
}

// A cancelled ConnectEx leaves a socket that connects no more, and the system below Wine 8.0 goes
// on with the attempt. Only the socket's end is the attempt's; a peer that it reached gets a reset.
int IocpBackend::withdraw(Operation& op) {
    if (!op.begun || !op.socket->stream) {
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
        case Kind::receive:
        case Kind::zero_byte:
        case Kind::receive_each:
            return receive(op);
        case Kind::send:
            if (op.from_file) {
                return send_file(op);
            }
            return op.watching ? wait_for_room(op) : send(op, count);
        case Kind::connect:
            return connect(op);
        case Kind::disconnect:
            return disconnect(op);
        case Kind::writable:
            return wait_for_room(op);
        case Kind::accept:
        case Kind::accept_each:
            return accept(op);
    }
    return failed(WSAEINVAL);
}

// The packet of the request still comes; if it has finished already, with its success.
void IocpBackend::cancel(Operation& op) {
    if (op.kind == Kind::accept || op.kind == Kind::accept_each) {
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
        const HANDLE handle = request->kind == Kind::writable ? afd_ : handle_of(member->socket);
        (void)winsock_.cancel(handle, &request->overlapped);
    }
}

void IocpBackend::publish() {
    if (interrupt_.registration == nullptr) {
        await_interrupt();
    }
    waiting_ = true;
    answered_ = !answers_.empty();
}

void IocpBackend::wait(std::int64_t timeout_ns) {
    if (entry_count_ != 0) {
        return;  // there was no memory to take what the wait before this one brought
    }
    ULONG count = 0;
    const BOOL good =
        ::GetQueuedCompletionStatusEx(port_, entries_.data(), static_cast<ULONG>(entries_.size()),
                                      &count, answered_ ? 0 : milliseconds(timeout_ns), FALSE);
    entry_count_ = good != FALSE ? count : 0;
}

int IocpBackend::open_afd() {
    if (afd_ != INVALID_HANDLE_VALUE) {
        return 0;
    }
    // The rest of the name is ours; it only tells handles apart.
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

// Writability is asked of AFD, as select() does: Microsoft's text promises no wait of a zero-byte
// WSASend.
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
    request->kind = Kind::writable;  // also of a send that waits before it goes
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
    member.sending = request;  // answered at once or not, its packet comes
    return {};
}

// An error of the socket is room as well: the send that follows has it.
int IocpBackend::poll_failure(const Request& request) noexcept {
    const auto status = static_cast<NTSTATUS>(request.overlapped.Internal);
    return status < 0 ? winsock_code(::RtlNtStatusToDosError(status)) : 0;
}

// A receive of no bytes is not the end by itself: under Wine 8.0 one that data reaches while the
// thread that posted it ends completes like that, and leaves the data.
bool IocpBackend::at_end(SOCKET socket) noexcept {
    char byte = 0;
    return ::recv(socket, &byte, 1, MSG_PEEK) == 0;
}

// Under Wine 8.0 a send's packet comes though the send is not over, and says nothing of the bytes
// that went, when the thread that posted it has ended. The stream cannot go on behind them.
bool IocpBackend::lost_with_its_thread(const Request& request) noexcept {
    return request.kind == Kind::send && !request.looking &&
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
    const bool receiving = request.kind == Kind::receive || request.kind == Kind::zero_byte ||
                           request.kind == Kind::receive_each;
    Request*& place = receiving ? member.receiving : member.sending;
    place = nullptr;
    int code = request.kind == Kind::writable
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
    if (request.kind == Kind::writable) {
        packet.result = 0;
        packet.ready = request.looking;  // a send that waits for room before it goes
    } else if (receiving && !request.looking && member.stream && code == 0 && bytes == 0 &&
               !member.deaf) {
        packet.ready = !at_end(member.socket);
        code = !packet.ready && was_reset(member.socket) ? WSAECONNRESET : 0;
    } else if (request.looking && !code_cancelled(code)) {
        // Looking found something; an error is what the read that follows will find.
        member.pending_error = code == WSAEMSGSIZE ? 0 : code;
        packet.ready = request.kind != Kind::zero_byte;
        packet.result = 0;
        code = 0;
    } else if (request.kind == Kind::connect && code == 0) {
        code = connected(member.socket);
        packet.result = 0;
    } else if (code == WSAEMSGSIZE && receiving) {
        code = 0;
        packet.flags = MSG_TRUNC;
    } else if (request.kind == Kind::send && bytes != 0) {
        code = 0;  // what went of a cancelled send has gone
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
        // Only what has joined under a name still known here is ours: the handle of a detached
        // socket stays bound to the port, and its next owner's requests report here too.
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
        if (request.kind == Kind::accept) {
            accept_packet(*listener, request, out);
        } else {
            if (!request.answered) {
                packet_of(*member, request, entry.dwNumberOfBytesTransferred, out);
            }
            requests_.give_back(request);
        }
    }
    entry_count_ = 0;
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

// Windows locks the buffers of every request in the kernel, page by page, until it is over.
std::uint32_t IocpBackend::kernel_locked(const Operation& op) const noexcept {
    return op.state.load(std::memory_order_relaxed) == State::queued ? 0 : op.receipt.pages();
}

}  // namespace iocp
