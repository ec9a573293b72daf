#pragma once

#include <memory>
#include <vector>

#include "bindings/objects.hpp"

namespace iocp::py {

// The buffers of an operation that has several, or more to it than bytes: a Message and all that it
// points to. Its Operation owns it from the post on, so that it outlives every use by the kernel;
// the buffers alone go back with the operation's lease. Descriptors that came with it are closed
// with it, unless somebody took them.
class Envelope {
public:
    enum class Way : std::uint8_t { sends, receives };

    explicit Envelope(Way way) noexcept : receives_(way == Way::receives) {}
    ~Envelope();
    Envelope(const Envelope&) = delete;
    Envelope& operator=(const Envelope&) = delete;

    // Its memory: one buffer, or several. False: exception set. Each is given once.
    void enclose(const Lease& only) noexcept;
    bool enclose_each(const Types& types, PyObject* buffers);
    bool set_target(const SocketObject& socket, PyObject* address);
    bool set_ancillary(const Types& types, PyObject* given);
    bool make_room(const Types& types, PyObject* bytes);

    [[nodiscard]] bool empty() const noexcept { return length_ == 0; }
    // Whether there is more to it than bytes.
    [[nodiscard]] bool is_message() const noexcept {
        return receives_ || message_.address.length != 0 || message_.control != nullptr;
    }
    // The lease of an operation of so many slices, once the memory is there.
    [[nodiscard]] Lease lease() noexcept;
    [[nodiscard]] std::uint16_t slices() const noexcept;
    // The only buffer, for who takes it over.
    [[nodiscard]] Lease& only() noexcept { return only_; }

    [[nodiscard]] PyObject* sender() const;
    // A list of (level, type, bytes). The descriptors in it are the caller's from here on.
    PyObject* take_ancillary();

private:
    void release_buffers() noexcept;

    Message message_;
    Lease only_;
    ConstBytes part_{};
    std::vector<Lease> leases_;  // instead of `only_`
    std::vector<ConstBytes> parts_;
    std::size_t length_{0};
    std::vector<std::byte> control_;
    bool receives_;
    bool taken_{false};
};

}  // namespace iocp::py
