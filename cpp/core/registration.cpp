// Port: memory that the kernel keeps locked for as long as it is registered (R06).
#include <algorithm>
#include <cstring>
#include <new>

#include "core/port.hpp"

namespace iocp {

Error Port::register_memory(std::size_t bytes, std::byte*& out) {
    if (closing_) {
        return Error::of(Fault::port_closed, "the port is closed; make a new one");
    }
    const std::size_t page = ledger_.page_size();
    const std::size_t length = (bytes + page - 1) / page * page;
    if (!ledger_.fits(length / page)) {
        ++counts_.refusals;
        return Error::of(Fault::budget,
                         "the port's budget has no room for so much registered memory");
    }
    try {
        registered_.reserve(registered_.size() + 1);
    } catch (const std::bad_alloc&) {
        return Error::of(Fault::resource, "no memory to register");
    }
    auto* data =
        static_cast<std::byte*>(::operator new (length, std::align_val_t{page}, std::nothrow));
    if (data == nullptr) {
        return Error::of(Fault::resource, "no memory to register");
    }
    if (Error error = backend_->pin(data, length)) {
        ::operator delete (data, std::align_val_t{page});
        return error.code != 0 ? system_error(error.code) : error;
    }
    std::memset(data, 0, length);
    registered_.push_back({data, length, false});
    out = data;
    ledger_.add_registered(length);
    return {};
}

// Precondition: no operation uses the memory. Only who runs the port may tell the kernel.
void Port::unregister(std::byte* data) {
    for (Registered& memory : registered_) {
        if (memory.data == data) {
            memory.unwanted = true;
        }
    }
    if (backend_ == nullptr) {
        free_registered();
    } else {
        nudge();
    }
}

void Port::free_registered() {
    std::erase_if(registered_, [this](const Registered& memory) {
        if (!memory.unwanted) {
            return false;
        }
        if (backend_ != nullptr && !backend_->unpin(memory.data)) {
            return false;
        }
        ledger_.remove_registered(memory.length);
        ::operator delete (memory.data, std::align_val_t{ledger_.page_size()});
        return true;
    });
}

bool Port::inside_registered(const std::byte* data, std::size_t length) const noexcept {
    return std::any_of(registered_.begin(), registered_.end(), [&](const Registered& memory) {
        return data >= memory.data && data + length <= memory.data + memory.length;
    });
}

}  // namespace iocp
