// LinuxBackend: sends whose bytes the kernel takes from a file.
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <new>

#include "backend/linux/call.hpp"
#include "backend/linux/linux_backend.hpp"
#include "backend/sent_file.hpp"

namespace iocp {

namespace {

// Maximum bytes of one sendfile(2), so that other sockets have their turn.
constexpr std::size_t max_bytes = std::size_t{1} << 20U;

// Maximum bytes of one copy from a file to a socket, so that they stay in the cache.
constexpr std::size_t copied_bytes = std::size_t{128} << 10U;

// Blocks SIGPIPE for one sendfile(2), which has no MSG_NOSIGNAL, and discards the signal that the
// call raises in this thread.
class WithoutSigpipe {
public:
    WithoutSigpipe() noexcept {
        (void)::sigemptyset(&sigpipe_);
        (void)::sigaddset(&sigpipe_, SIGPIPE);
        sigset_t pending;
        (void)::sigpending(&pending);
        was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
        (void)::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
    }
    ~WithoutSigpipe() {
        if (!was_pending_) {
            const timespec now{};
            (void)::sigtimedwait(&sigpipe_, nullptr, &now);
        }
        (void)::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    WithoutSigpipe(const WithoutSigpipe&) = delete;
    WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;

private:
    sigset_t sigpipe_{};
    sigset_t before_{};
    bool was_pending_{false};
};

}  // namespace

StartResult LinuxBackend::send_file_now(Operation& op) {
    if (op.remaining() == 0) {
        return {Start::done, 0};
    }
    Socket& socket = *op.socket;
    if (socket.shared) {
        return copy_file_now(op);
    }
    const int fd = fd_of(socket);
    auto at = static_cast<off_t>(SentFile::position(op));
    const Nonblocking nonblocking(fd);
    const WithoutSigpipe without_sigpipe;
    const ssize_t went = retry([&] {
        return ::sendfile(fd, static_cast<int>(SentFile::of(op).handle()), &at,
                          std::min(op.remaining(), max_bytes));
    });
    if (went < 0 && errno == EINVAL) {
        return copy_file_now(op);  // only read(2) gives the bytes of a file of /proc
    }
    return came_to(socket, went, bit_unwritable);
}

// Copies a part of the file to the socket, where sendfile(2) cannot be used. sendfile(2) has no
// MSG_DONTWAIT, and another holder of the socket may make it blocking during the call.
StartResult LinuxBackend::copy_file_now(Operation& op) {
    if (copied_ == nullptr) {
        copied_.reset(new (std::nothrow) std::byte[copied_bytes]);
        if (copied_ == nullptr) {
            return failed(ENOMEM);
        }
    }
    Socket& socket = *op.socket;
    const ssize_t there = retry([&] {
        return ::pread(static_cast<int>(SentFile::of(op).handle()), copied_.get(),
                       std::min(op.remaining(), copied_bytes),
                       static_cast<off_t>(SentFile::position(op)));
    });
    if (there <= 0) {
        return there < 0 ? failed(errno) : StartResult{Start::done, 0};
    }
    const ssize_t went = retry([&] {
        return ::send(fd_of(socket), copied_.get(), static_cast<std::size_t>(there),
                      MSG_DONTWAIT | MSG_NOSIGNAL);
    });
    return came_to(socket, went, bit_unwritable);
}

int SentFile::duplicate(Handle file, std::unique_ptr<SentFile>& out) {
    const int fd = ::fcntl(static_cast<int>(file), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    out.reset(new SentFile(fd));
    struct stat found {};
    if (::fstat(fd, &found) != 0) {
        return errno;
    }
    if (S_ISREG(found.st_mode)) {
        out->length_ = found.st_size;
    }
    if (out->length_ == 0) {
        // A file of /proc reports length 0 and has data.
        std::byte first{};
        const ssize_t there = retry([&] { return ::pread(fd, &first, 1, 0); });
        out->length_ = there > 0 ? unknown_length : 0;
        return there < 0 ? errno : 0;
    }
    return 0;
}

int SentFile::read(std::uint64_t at, std::byte* out, std::size_t length, std::size_t& got) const {
    const ssize_t count = retry(
        [&] { return ::pread(static_cast<int>(handle_), out, length, static_cast<off_t>(at)); });
    got = count > 0 ? static_cast<std::size_t>(count) : 0;
    return count < 0 ? errno : 0;
}

SentFile::~SentFile() { (void)::close(static_cast<int>(handle_)); }

}  // namespace iocp
