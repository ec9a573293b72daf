#include "bindings/envelope.hpp"

#include <cerrno>

#include "backend/ancillary.hpp"
#include "backend/families.hpp"
#include "backend/system_error.hpp"
#include "bindings/address_argument.hpp"
#include "bindings/arguments.hpp"
#include "bindings/errors.hpp"
#include "bindings/held.hpp"
#include "bindings/lease.hpp"
#include "bindings/port_object.hpp"
#include "bindings/socket_object.hpp"
#include "bindings/types.hpp"

namespace iocp::py {

namespace {

constexpr Py_ssize_t max_room = Py_ssize_t{1} << 20;
constexpr Py_ssize_t max_items = 1024;

bool refuse_ancillary(const Types& types) {
    raise(types, ErrorClass::argument, code_not_offered,
          "this system has no ancillary data; send the bytes without it");
    return false;
}

// Holds the leases of ancillary data until the data is copied, and gives them back.
class HeldLeases {
public:
    explicit HeldLeases(std::size_t count) : leases_(count) {}
    ~HeldLeases() {
        for (Lease& lease : leases_) {
            lease.give_back();
        }
    }
    HeldLeases(const HeldLeases&) = delete;
    HeldLeases& operator=(const HeldLeases&) = delete;

    Lease& operator[](std::size_t at) noexcept { return leases_[at]; }

private:
    std::vector<Lease> leases_;
};

// Converts one tuple (level, type, data) of ancillary data. `lease` holds the data.
bool to_item(const Types& types, PyObject* given, AncillaryItem& item, Lease& lease) {
    if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != 3) {
        raise(types, ErrorClass::argument_type, EINVAL,
              "ancillary data must be an iterable of tuples (level, type, data)");
        return false;
    }
    if (!to_int(types, PyTuple_GET_ITEM(given, 0), "level", item.level) ||
        !to_int(types, PyTuple_GET_ITEM(given, 1), "type", item.type) ||
        !lease_bytes(types, PyTuple_GET_ITEM(given, 2), lease)) {
        return false;
    }
    item.data = lease.data;
    item.length = lease.length;
    return true;
}

}  // namespace

Envelope::~Envelope() {
    release_buffers();
    if (receives_ && !taken_) {
        close_passed(message_.control, message_.control_length);
    }
}

void Envelope::release_buffers() noexcept {
    only_.give_back();
    for (Lease& lease : leases_) {
        lease.give_back();
    }
    leases_.clear();
}

void Envelope::enclose(const Lease& only) noexcept {
    only_ = only;
    part_ = {only.data, only.length};
    length_ = only.length;
}

bool Envelope::enclose_each(const Types& types, PyObject* buffers) {
    return lease_each(types, buffers, receives_ ? lease_writable : lease_bytes, leases_, parts_,
                      length_);
}

bool Envelope::set_target(const SocketObject& socket, PyObject* address) {
    const Types& types = *socket.binding->types;
    if (socket.type == type_stream) {
        raise(types, ErrorClass::argument, EINVAL,
              "a stream sends to its peer and takes no address; leave address out");
        return false;
    }
    return to_address(types, address, socket.family, message_.address);
}

bool Envelope::set_ancillary(const Types& types, PyObject* given) {
    if (!has_ancillary) {
        return refuse_ancillary(types);
    }
    const Held sequence(listed(types, given, max_items,
                               "ancillary data must be an iterable of tuples (level, type, data)",
                               "ancillary data must be at most 1024 items"));
    if (sequence.get() == nullptr) {
        return false;
    }
    const Py_ssize_t count = PyTuple_GET_SIZE(sequence.get());
    std::vector<AncillaryItem> items(static_cast<std::size_t>(count));
    HeldLeases leases(static_cast<std::size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        if (!to_item(types, PyTuple_GET_ITEM(sequence.get(), i), items[at], leases[at])) {
            return false;
        }
    }
    control_ = ancillary_block(items);
    message_.control = control_.empty() ? nullptr : control_.data();
    message_.control_length = control_.size();
    return true;
}

bool Envelope::make_room(const Types& types, PyObject* bytes) {
    Py_ssize_t size = 0;
    if (!to_size(types, bytes, "ancillary_size", 0, size)) {
        return false;
    }
    if (size > max_room) {
        raise(types, ErrorClass::argument, EINVAL,
              "ancillary_size must be a number of bytes from 0 to 1 MiB");
        return false;
    }
    if (size != 0 && !has_ancillary) {
        return refuse_ancillary(types);
    }
    control_.resize(static_cast<std::size_t>(size));
    message_.control = control_.empty() ? nullptr : control_.data();
    message_.control_length = control_.size();
    return true;
}

Lease Envelope::lease() noexcept {
    const ConstBytes* parts = parts_.empty() ? &part_ : parts_.data();
    message_.parts = parts;
    void* data = is_message() ? &message_ : const_cast<void*>(static_cast<const void*>(parts));
    return {static_cast<std::byte*>(data), length_, this,
            [](void* owner) { static_cast<Envelope*>(owner)->release_buffers(); }};
}

std::uint16_t Envelope::slices() const noexcept {
    return parts_.empty() ? 1 : static_cast<std::uint16_t>(parts_.size());
}

PyObject* Envelope::sender() const {
    if (!receives_ || message_.address.length == 0) {
        Py_RETURN_NONE;
    }
    return from_address(message_.address);
}

PyObject* Envelope::take_ancillary() {
    const std::vector<AncillaryItem> items =
        receives_ ? ancillary_items(message_.control, message_.control_length)
                  : std::vector<AncillaryItem>{};
    PyObject* list = PyList_New(static_cast<Py_ssize_t>(items.size()));
    for (std::size_t i = 0; list != nullptr && i < items.size(); ++i) {
        const AncillaryItem& item = items[i];
        PyObject* tuple =
            Py_BuildValue("(iiN)", item.level, item.type,
                          PyBytes_FromStringAndSize(reinterpret_cast<const char*>(item.data),
                                                    static_cast<Py_ssize_t>(item.length)));
        if (tuple == nullptr) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), tuple);
        }
    }
    taken_ = taken_ || list != nullptr;
    return list;
}

}  // namespace iocp::py
