#pragma once

#include <cstdint>
#include <unordered_map>

namespace iocp {

// What a ring polls in place of a socket whose peer has shut down its side, or that has an error
// which nobody takes (a queue of errors not read, a connection that is over). A poll by io_uring
// ends with these, asked for or not, so one for anything else would end at once, again and again.
// An epoll instance is ready for exactly what it was asked for, and for a new error. One for each
// wait, for the while that it lasts.
class ExactWaits {
public:
    ExactWaits() = default;
    ~ExactWaits() { clear(); }
    ExactWaits(const ExactWaits&) = delete;
    ExactWaits& operator=(const ExactWaits&) = delete;

    // The descriptor to be polled for POLLIN by this name, or a negative error number. `stands`:
    // there is an error or a hang-up and nothing else; only the next one will be reported.
    int begin(std::uint64_t name, int fd, std::uint32_t events, bool& stands);
    // The request of this name, one of these or not, is over.
    void over(std::uint64_t name) noexcept;
    // The ring that polled them is gone.
    void clear() noexcept;

private:
    static void close(int instance) noexcept;

    std::unordered_map<std::uint64_t, int> instances_;
};

}  // namespace iocp
