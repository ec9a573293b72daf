#pragma once

#include <cstdint>

#include "ops/socket.hpp"

namespace iocp {

// The kind of a request, which decides what its completion means: bytes transferred, readiness as
// the result itself, or readiness to start the operation again.
enum class RequestKind : std::uint8_t {
    transfer,  // the result is the number of bytes transferred
    empty,     // readiness, itself the result: a zero-byte receive or a wait for room
    ready,     // readiness: start the operation again
};

// The name of a request in the kernel (its user_data): the packed id of its operation, with the
// RequestKind in two bits that no slot number reaches. A lane has at most one request in the
// kernel. So the socket keeps the kind, and the name can be made again from the operation.
class RequestName {
public:
    // The user_data of submission entries that belong to no operation.
    static constexpr std::uint64_t wake = ~std::uint64_t{0};
    static constexpr std::uint64_t cancel = ~std::uint64_t{0} - 1;  // completes only if it fails

    RequestName(SlotId operation, RequestKind kind) noexcept
        : packed_(operation.packed() | (static_cast<std::uint64_t>(kind) << kind_shift)) {}
    explicit RequestName(std::uint64_t packed) noexcept : packed_(packed) {}

    // Makes the RequestName of a new request of the operation, and keeps the request's kind at the
    // socket.
    static RequestName begin(Operation& op, RequestKind kind) noexcept {
        std::uint32_t& bits = op.socket->backend_bits;
        bits &= ~(kind_bits << shift_of(op));
        bits |= static_cast<std::uint32_t>(kind) << shift_of(op);
        return {op.id, kind};
    }
    // Returns the RequestName of the operation's latest request.
    static RequestName of(const Operation& op) noexcept {
        return {op.id,
                static_cast<RequestKind>((op.socket->backend_bits >> shift_of(op)) & kind_bits)};
    }

    [[nodiscard]] std::uint64_t packed() const noexcept { return packed_; }
    [[nodiscard]] SlotId operation() const noexcept {
        return SlotId::unpack(packed_ & ~(std::uint64_t{kind_bits} << kind_shift));
    }
    [[nodiscard]] RequestKind kind() const noexcept {
        return static_cast<RequestKind>((packed_ >> kind_shift) & kind_bits);
    }

private:
    static constexpr unsigned kind_shift = 30;
    static constexpr std::uint32_t kind_bits = 3;

    // Returns the position of the operation's RequestKind in Socket::backend_bits.
    static unsigned shift_of(const Operation& op) noexcept { return op.sending() ? 10 : 8; }

    std::uint64_t packed_;
};

}  // namespace iocp
