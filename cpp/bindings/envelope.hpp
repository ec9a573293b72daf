#pragma once

#include <memory>
#include <vector>

#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

// A Message with all that it points to, for an operation with several buffers, an address or
// ancillary data. The Operation object owns the Envelope from the post on, so that the Envelope
// outlives every use by the kernel. Only the buffers go back with the operation's lease. The
// destructor closes received descriptors that the program did not take.
class Envelope {
public:
    enum class Way : std::uint8_t { sends, receives };

    explicit Envelope(Way way) noexcept : receives_(way == Way::receives) {}
    ~Envelope();
    Envelope(const Envelope&) = delete;
    Envelope& operator=(const Envelope&) = delete;

    // enclose() takes one buffer, enclose_each() several. Precondition of both: no buffer was given
    // yet. A setter that fails sets an exception and returns false.
    void enclose(const Lease& only) noexcept;
    bool enclose_each(const Types& types, PyObject* buffers);
    bool set_target(const SocketObject& socket, PyObject* address);
    bool set_ancillary(const Types& types, PyObject* given);
    bool make_room(const Types& types, PyObject* bytes);

    [[nodiscard]] bool empty() const noexcept { return length_ == 0; }
    // Returns whether the operation has an address or ancillary data beside its bytes.
    [[nodiscard]] bool is_message() const noexcept {
        return receives_ || message_.address.length != 0 || message_.control != nullptr;
    }
    // The operation's lease and its number of slices. Precondition: a buffer was given.
    [[nodiscard]] Lease lease() noexcept;
    [[nodiscard]] std::uint16_t slices() const noexcept;
    // The lease of a single buffer, for a caller that takes it over.
    [[nodiscard]] Lease& only() noexcept { return only_; }

    [[nodiscard]] PyObject* sender() const;
    // Returns a list of (level, type, bytes). From then on the caller owns the descriptors in the
    // list.
    PyObject* take_ancillary();

private:
    void release_buffers() noexcept;

    Message message_;
    Lease only_;
    ConstBytes part_{};
    std::vector<Lease> leases_;  // for several buffers, instead of `only_`
    std::vector<ConstBytes> parts_;
    std::size_t length_{0};
    std::vector<std::byte> control_;
    bool receives_;
    bool taken_{false};
};

}  // namespace iocp::py
