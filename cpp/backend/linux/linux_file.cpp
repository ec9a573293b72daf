// LinuxBackend: sends whose bytes the kernel takes from a file.
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "backend/linux/call.hpp"
#include "backend/linux/linux_backend.hpp"
#include "backend/sent_file.hpp"

namespace iocp {

namespace {

// What one step sends: other sockets have their turn between two of them.
constexpr std::size_t most_bytes = std::size_t{1} << 20U;

// sendfile(2) has no MSG_DONTWAIT: the socket's own flag says it for the one call.
class Nonblocking {
public:
    explicit Nonblocking(int fd) noexcept : fd_(fd) { (void)set_nonblocking(fd, true); }
    ~Nonblocking() { (void)set_nonblocking(fd_, false); }
    Nonblocking(const Nonblocking&) = delete;
    Nonblocking& operator=(const Nonblocking&) = delete;

private:
    int fd_;
};

// It has no MSG_NOSIGNAL either: the signal goes to this thread, which takes it back.
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
    const int fd = fd_of(socket);
    auto at = static_cast<off_t>(SentFile::position(op));
    const Nonblocking nonblocking(fd);
    const WithoutSigpipe without_sigpipe;
    const ssize_t went = retry([&] {
        return ::sendfile(fd, static_cast<int>(SentFile::of(op).handle()), &at,
                          std::min(op.remaining(), most_bytes));
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
    return 0;
}

SentFile::~SentFile() { (void)::close(static_cast<int>(handle_)); }

}  // namespace iocp
