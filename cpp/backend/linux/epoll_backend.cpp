#include "backend/linux/epoll_backend.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <iterator>
#include <utility>

#include "backend/linux/call.hpp"

namespace iocp {

namespace {

constexpr int events_per_wait = 32;  // small turns keep the caches warm
constexpr std::uint64_t wake_token = ~std::uint64_t{0};

// epoll_pwait2(2) takes nanoseconds. Kernels before 5.11 take milliseconds, rounded up so that no
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

// Returns the packet that ends an operation.
Packet end_of(const Operation& op, std::int64_t result) noexcept {
    Packet packet;
    packet.operation = op.id;
    packet.result = result;
    return packet;
}

// Returns the packet that makes the core start an operation again.
Packet restart_of(const Operation& op) noexcept {
    Packet packet;
    packet.operation = op.id;
    packet.ready = true;
    return packet;
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
    if (const int code = made->wake_.open(); code != 0) {
        why = made->refusal("eventfd", code);
        return nullptr;
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = wake_token;
    if (::epoll_ctl(made->epoll_fd_, EPOLL_CTL_ADD, made->wake_.fd(), &event) != 0) {
        why = made->refusal("epoll_ctl", errno);
        return nullptr;
    }
    return made;
}

EpollBackend::~EpollBackend() {
    if (epoll_fd_ >= 0) {
        (void)::close(epoll_fd_);
    }
}

// Registers the socket. epoll then reports its present readiness, so readiness that came after an
// attempt is not missed.
int EpollBackend::watch(Socket& socket) {
    if ((socket.backend_bits & bit_watched) != 0) {
        return 0;
    }
    if (registered_.size() <= socket.id.slot) {
        registered_.resize(socket.id.slot + 64);
    }
    if (const int code = add(socket); code != 0) {
        return code;
    }
    registered_[socket.id.slot] = &socket;
    socket.backend_bits |= bit_watched;
    return 0;
}

int EpollBackend::add(Socket& socket) {
    const int fd = fd_of(socket);
    if (!socket.watched) {
        const int code = add_number(socket, fd);
        if (code == 0) {
            watches_.erase(fd);
        }
        return code == EEXIST ? add_duplicate(socket) : code;
    }
    const auto [place, fresh] = watches_.try_emplace(fd);
    const int code = add_number(socket, fd);
    if (code == 0) {
        place->second = socket.id;
    } else if (fresh) {
        watches_.erase(place);
    }
    return code == EEXIST ? add_duplicate(socket) : code;
}

// Registers a duplicate of the descriptor, because epoll registers each descriptor only once.
int EpollBackend::add_duplicate(const Socket& socket) {
    const auto place = duplicates_.try_emplace(socket.id.slot, -1).first;
    place->second = ::fcntl(fd_of(socket), F_DUPFD_CLOEXEC, 0);
    const int code = place->second >= 0 ? add_number(socket, place->second) : errno;
    if (code != 0) {
        if (place->second >= 0) {
            (void)::close(place->second);
        }
        duplicates_.erase(place);
    }
    return code;
}

int EpollBackend::add_number(const Socket& socket, int fd) noexcept {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.u64 = socket.id.packed();
    return ::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void EpollBackend::remove_number(int fd) noexcept {
    epoll_event event{};
    (void)::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, &event);
}

// Removes the socket's registration. Leaves the number of a watched socket alone if a later
// registration was made under that number.
void EpollBackend::forget(Socket& socket) noexcept {
    if ((socket.backend_bits & bit_watched) == 0) {
        return;
    }
    const auto duplicate = duplicates_.find(socket.id.slot);
    const auto watch = socket.watched ? watches_.find(fd_of(socket)) : watches_.end();
    if (duplicate != duplicates_.end()) {
        remove_number(duplicate->second);
        (void)::close(duplicate->second);
        duplicates_.erase(duplicate);
    } else if (!socket.watched) {
        remove_number(fd_of(socket));
    } else if (watch != watches_.end() && watch->second.packed() == socket.id.packed()) {
        remove_number(fd_of(socket));
        watches_.erase(watch);
    }
    registered_[socket.id.slot] = nullptr;
    socket.backend_bits &= ~bit_watched;
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
    if (op.kind == OperationKind::connect && !op.asked) {
        // Connects before watch(), because epoll reports a hang-up of an unconnected socket.
        const StartResult result = connect_now(op);
        if (result.start != Start::pending) {
            return result;
        }
    }
    if (const int code = watch(socket); code != 0) {
        return failed(code);
    }
    if (op.kind == OperationKind::connect) {
        return connect_now(op);
    }
    if (goes_blind(op)) {
        return send_blind(op);
    }
    if (op.kind == OperationKind::disconnect) {
        const StartResult result = disconnect_now(op);
        if (result.start == Start::done && op.reuse) {
            forget(socket);  // the next connection is registered anew
        }
        return result;
    }
    if (op.sending()) {
        if ((socket.backend_bits & bit_unwritable) != 0) {
            return {};
        }
        return op.from_file ? send_file(op) : attempt(op, count);
    }
    const bool blocked = (socket.backend_bits & bit_unreadable) != 0 && !reads_notified(op);
    return blocked ? StartResult{} : attempt(op, count);
}

// Sends one part of the file in each turn, so that no file keeps the port from its other sockets.
StartResult EpollBackend::send_file(Operation& op) {
    if (op.asked) {
        const StartResult result = send_file_now(op);
        op.asked = result.start == Start::pending;
        return result;
    }
    answers_.push_back(restart_of(op));
    op.asked = true;
    return {};
}

void EpollBackend::cancel(Operation& op) { answers_.push_back(end_of(op, -ECANCELED)); }

void EpollBackend::take_cancelled(std::vector<Packet>& out) {
    out.reserve(out.size() + answers_.size());
    std::move(answers_.begin(), answers_.end(), std::back_inserter(out));
    answers_.clear();
}

int EpollBackend::withdraw(Operation& op) {
    // Forgets the registration, so that the next connection attempt gets no hang-up event of this
    // one.
    forget(*op.socket);
    return LinuxBackend::withdraw(op);
}

void EpollBackend::publish() {
    waiting_ = true;
    answered_ = !answers_.empty() || event_count_ != 0;
}

void EpollBackend::wait(std::int64_t timeout_ns) {
    if (event_count_ != 0) {
        return;  // the last wait's events are still untaken for lack of memory
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
        Operation* op = socket.receiving.request();
        // An edge may be older than the operation, so a zero-byte receive checks again.
        const StartResult look = op != nullptr && op->kind == OperationKind::zero_byte
                                     ? attempt(*op, 1)
                                     : StartResult{Start::done, 0};
        if (op != nullptr && look.start != Start::pending) {
            out.push_back(look.start == Start::done ? restart_of(*op) : end_of(*op, -look.value));
        }
    }
    const Operation* sending = socket.sending.request();
    const bool ended = (mask & EPOLLRDHUP) != 0 && sending != nullptr &&
                       sending->kind == OperationKind::disconnect;
    if (ended || (mask & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
        socket.backend_bits &= ~bit_unwritable;
        if (sending != nullptr) {
            out.push_back(restart_of(*sending));
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
            wake_.clear();
            continue;
        }
        const SlotId id = SlotId::unpack(event.data.u64);
        Socket* socket = id.slot < registered_.size() ? registered_[id.slot] : nullptr;
        if (socket != nullptr && socket->id.generation == id.generation) {
            edge(event.events, *socket, out);
        }
    }
    event_count_ = 0;
}

}  // namespace iocp
