#include "backend/linux/epoll_backend.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

namespace iocp {

namespace {

constexpr int events_per_wait = 32;  // small turns keep the caches warm
constexpr std::uint64_t wake_token = ~std::uint64_t{0};

// epoll_pwait2(2) takes nanoseconds; kernels before 5.11 take milliseconds, rounded up so that no
// wait ends early.
int wait_for_events(int fd, epoll_event* events, std::int64_t timeout_ns) noexcept {
#ifdef SYS_epoll_pwait2
    static constexpr long call = SYS_epoll_pwait2;
#else
    static constexpr long call = 441;
#endif
    if (timeout_ns > 0) {
        timespec time{static_cast<time_t>(timeout_ns / 1'000'000'000),
                      static_cast<long>(timeout_ns % 1'000'000'000)};
        const long count = ::syscall(call, fd, events, events_per_wait, &time, nullptr, 0);
        if (count >= 0 || errno != ENOSYS) {
            return static_cast<int>(count);
        }
    }
    constexpr std::int64_t longest = 1'000'000'000;
    const std::int64_t milliseconds =
        timeout_ns < 0 ? -1 : std::min((timeout_ns + 999'999) / 1'000'000, longest);
    return ::epoll_wait(fd, events, events_per_wait, static_cast<int>(milliseconds));
}

}  // namespace

EpollBackend::EpollBackend() : events_(std::make_unique<epoll_event[]>(events_per_wait)) {}

std::unique_ptr<EpollBackend> EpollBackend::create(BackendReason& why) {
    std::unique_ptr<EpollBackend> made(new EpollBackend);
    made->epoll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (made->epoll_fd_ < 0) {
        why = made->refusal("epoll_create1", errno);
        return nullptr;
    }
    made->wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->wake_fd_ < 0) {
        why = made->refusal("eventfd", errno);
        return nullptr;
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = wake_token;
    if (::epoll_ctl(made->epoll_fd_, EPOLL_CTL_ADD, made->wake_fd_, &event) != 0) {
        why = made->refusal("epoll_ctl", errno);
        return nullptr;
    }
    return made;
}

EpollBackend::~EpollBackend() {
    if (wake_fd_ >= 0) {
        (void)::close(wake_fd_);
    }
    if (epoll_fd_ >= 0) {
        (void)::close(epoll_fd_);
    }
}

// Registering reports what is there already, so no edge is lost between an attempt and this.
int EpollBackend::watch(Socket& socket) {
    if ((socket.backend_bits & bit_watched) != 0) {
        return 0;
    }
    if (watched_.size() <= socket.id.slot) {
        watched_.resize(socket.id.slot + 64);
    }
    epoll_event event{};
    event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.u64 = socket.id.packed();
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, static_cast<int>(socket.handle), &event) != 0) {
        return errno;
    }
    watched_[socket.id.slot] = &socket;
    socket.backend_bits |= bit_watched;
    return 0;
}

void EpollBackend::forget(Socket& socket) noexcept {
    if ((socket.backend_bits & bit_watched) != 0) {
        epoll_event event{};
        (void)::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, static_cast<int>(socket.handle), &event);
        watched_[socket.id.slot] = nullptr;
        socket.backend_bits &= ~bit_watched;
    }
}

void EpollBackend::detach(Socket& socket) {
    forget(socket);
    LinuxBackend::detach(socket);
}

void EpollBackend::close(Socket& socket) {
    forget(socket);  // a duplicate of the descriptor would keep the registration alive
    LinuxBackend::close(socket);
}

StartResult EpollBackend::start(Operation& op, unsigned count) {
    Socket& socket = *op.socket;
    if (op.kind == Kind::connect && !op.begun) {
        const StartResult result = connect_now(op);  // before it, the socket would report a hang-up
        if (result.start != Start::pending) {
            return result;
        }
    }
    if (const int code = watch(socket); code != 0) {
        return {Start::failed, code};
    }
    if (op.kind == Kind::connect) {
        return connect_now(op);
    }
    if (goes_blind(op)) {
        return send_blind(op);
    }
    if (op.kind == Kind::disconnect) {
        const StartResult result = disconnect_now(op);
        if (result.start == Start::done && op.reuse) {
            forget(socket);  // a new connection is registered anew
        }
        return result;
    }
    if (op.sending()) {
        if ((socket.backend_bits & bit_unwritable) != 0) {
            return {};
        }
        return op.from_file ? send_file(op) : attempt(op, count);
    }
    const bool blocked = (socket.backend_bits & bit_unreadable) != 0 && !reads_aside(op);
    return blocked ? StartResult{} : attempt(op, count);
}

// One step a turn, so that no file keeps the port from its other sockets.
StartResult EpollBackend::send_file(Operation& op) {
    if (op.going) {
        const StartResult result = send_file_now(op);
        op.going = result.start == Start::pending;
        return result;
    }
    Packet packet;
    packet.operation = op.id;
    packet.ready = true;
    answers_.push_back(std::move(packet));
    op.going = true;
    return {};
}

void EpollBackend::cancel(Operation& op) {
    Packet packet;
    packet.operation = op.id;
    packet.result = -ECANCELED;
    answers_.push_back(std::move(packet));
}

void EpollBackend::take_cancelled(std::vector<Packet>& out) { out.swap(answers_); }

int EpollBackend::withdraw(Operation& op) {
    forget(
        *op.socket);  // the next attempt registers it anew, and is told of no hang-up of this one
    return LinuxBackend::withdraw(op);
}

void EpollBackend::publish() {
    waiting_ = true;
    answered_ = !answers_.empty() || event_count_ != 0;
}

void EpollBackend::wait(std::int64_t timeout_ns) {
    if (event_count_ != 0) {
        return;  // there was no memory to take what the wait before this one brought
    }
    const int count = wait_for_events(epoll_fd_, events_.get(), answered_ ? 0 : timeout_ns);
    event_count_ = count > 0 ? count : 0;
}

void EpollBackend::edge(std::uint32_t mask, Socket& socket, std::vector<Packet>& out) {
    if ((mask & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        socket.backend_bits &= ~bit_unreadable;
        if ((mask & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
            socket.backend_bits |= bit_read_on;
        }
        Operation* op = socket.receiving.started != 0 ? socket.receiving.head : nullptr;
        // An edge may be older than the operation: a zero-byte receive looks again.
        const StartResult look = op != nullptr && op->kind == Kind::zero_byte
                                     ? attempt(*op, 1)
                                     : StartResult{Start::done, 0};
        if (op != nullptr && look.start != Start::pending) {
            Packet packet;
            packet.operation = op->id;
            packet.ready = look.start == Start::done;
            packet.result = packet.ready ? 0 : -look.value;
            out.push_back(std::move(packet));
        }
    }
    const Operation* sending = socket.sending.started != 0 ? socket.sending.head : nullptr;
    const bool ended =
        (mask & EPOLLRDHUP) != 0 && sending != nullptr && sending->kind == Kind::disconnect;
    if (ended || (mask & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
        socket.backend_bits &= ~bit_unwritable;
        if (sending != nullptr) {
            Packet packet;
            packet.operation = sending->id;
            packet.ready = true;
            out.push_back(std::move(packet));
        }
    }
}

void EpollBackend::reap(std::vector<Packet>& out) {
    waiting_ = false;
    out.reserve(out.size() + answers_.size() + 2 * static_cast<std::size_t>(event_count_));
    for (Packet& packet : answers_) {
        out.push_back(std::move(packet));
    }
    answers_.clear();
    for (int i = 0; i < event_count_; ++i) {
        const epoll_event& event = events_[static_cast<std::size_t>(i)];
        if (event.data.u64 == wake_token) {
            std::uint64_t value = 0;
            (void)!::read(wake_fd_, &value, sizeof value);
            continue;
        }
        const SlotId id = SlotId::unpack(event.data.u64);
        Socket* socket = id.slot < watched_.size() ? watched_[id.slot] : nullptr;
        if (socket != nullptr && socket->id.generation == id.generation) {
            edge(event.events, *socket, out);
        }
    }
    event_count_ = 0;
}

void EpollBackend::wake() noexcept {
    const std::uint64_t one = 1;
    (void)!::write(wake_fd_, &one, sizeof one);
}

}  // namespace iocp
