#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/operation.hpp"
#include "core/socket.hpp"

namespace iocp {

// The file that a send takes its bytes from: a handle of its own, closed with it.
class SentFile {
public:
    // Duplicates a handle of the platform, and returns the system's error number, 0 for success.
    static int duplicate(Handle file, std::unique_ptr<SentFile>& out);
    ~SentFile();
    SentFile(const SentFile&) = delete;
    SentFile& operator=(const SentFile&) = delete;

    [[nodiscard]] Handle handle() const noexcept { return handle_; }
    // As its length where the system tells none, though there is something: it ends where a read
    // gives nothing.
    static constexpr std::int64_t unknown_length = std::int64_t{1} << 62U;
    // Bytes of the file when it was duplicated; -1 where it is not a regular file.
    [[nodiscard]] std::int64_t length() const noexcept { return length_; }

    // Reads where the send stands, for who has no call of the system that sends files. Returns the
    // system's error number; 0 bytes are the file's end.
    int read(std::uint64_t at, std::byte* out, std::size_t length, std::size_t& got) const;

    std::uint64_t offset{0};  // in the file, of the send's first byte

    // The file of a send that has one, and where its next byte is.
    static const SentFile& of(const Operation& op) noexcept {
        return *reinterpret_cast<const SentFile*>(op.lease.data);
    }
    static std::uint64_t position(const Operation& op) noexcept {
        return of(op).offset + op.transferred;
    }
    // A lease of `count` bytes that closes the file.
    static Lease lease(std::unique_ptr<SentFile> file, std::size_t count) noexcept;

private:
    explicit SentFile(Handle handle) noexcept : handle_(handle) {}

    Handle handle_;
    std::int64_t length_{-1};
};

}  // namespace iocp
