#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "ops/operation.hpp"
#include "ops/socket.hpp"

namespace iocp {

// The file of a send, as a duplicate handle that is closed when the send gives its lease back.
class SentFile {
public:
    // Duplicates a handle of the platform. Returns the system's error number, 0 for success.
    static int duplicate(Handle file, std::unique_ptr<SentFile>& out);
    ~SentFile();
    SentFile(const SentFile&) = delete;
    SentFile& operator=(const SentFile&) = delete;

    [[nodiscard]] Handle handle() const noexcept { return handle_; }
    // The length of a file whose reported length is 0 although it has data (as in /proc). The send
    // of such a file ends where a read returns no bytes.
    static constexpr std::int64_t unknown_length = std::int64_t{1} << 62U;
    // Returns the file's length in bytes when it was duplicated, or -1 if it is not a regular file.
    [[nodiscard]] std::int64_t length() const noexcept { return length_; }

    // Reads at a position of the file, for a backend without a system call that sends files.
    // Returns the system's error number; 0 bytes mean the end of the file.
    int read(std::uint64_t at, std::byte* out, std::size_t length, std::size_t& got) const;

    std::uint64_t offset{0};  // the position in the file of the send's first byte

    // of() returns the file of a send. position() returns where in the file the next byte to send
    // is.
    static const SentFile& of(const Operation& op) noexcept {
        return *reinterpret_cast<const SentFile*>(op.lease.data);
    }
    static std::uint64_t position(const Operation& op) noexcept {
        return of(op).offset + op.transferred;
    }
    // Makes a lease of `count` bytes for a send of the file. Giving the lease back closes the file.
    static Lease lease(std::unique_ptr<SentFile> file, std::size_t count) noexcept;

private:
    explicit SentFile(Handle handle) noexcept : handle_(handle) {}

    Handle handle_;
    std::int64_t length_{-1};
};

}  // namespace iocp
