#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/backend.hpp"
#include "backend/windows/winsock.hpp"

// The calls on one end of a named pipe.
namespace iocp {

// Returns an error of Winsock unless the handle is a pipe's that was opened for overlapped I/O: a
// call on any other would wait.
[[nodiscard]] int check_pipe(HANDLE handle) noexcept;

// Returns whether a read met the end of the pipe: its other end is closed, and everything is read.
[[nodiscard]] bool ends_pipe(DWORD code) noexcept;

// Returns the bytes that a read would find now, or minus an error of Win32.
[[nodiscard]] std::int64_t bytes_in(HANDLE pipe) noexcept;

// Returns a failure, or the end of the stream.
[[nodiscard]] StartResult pipe_failure(DWORD code) noexcept;

// Reads that do not wait. A pipe has none, so this looks first, reads overlapped, and takes the
// read back should another reader have been faster.
class PipeReader {
public:
    explicit PipeReader(const Winsock& winsock) noexcept : winsock_(winsock) {}
    ~PipeReader();
    PipeReader(const PipeReader&) = delete;
    PipeReader& operator=(const PipeReader&) = delete;

    [[nodiscard]] StartResult read(HANDLE pipe, std::byte* data, std::size_t length) noexcept;

private:
    const Winsock& winsock_;
    HANDLE event_{nullptr};  // of the read that is under way; made for the first
};

}  // namespace iocp
