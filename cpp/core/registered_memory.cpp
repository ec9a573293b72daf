#include "core/registered_memory.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

namespace iocp {

namespace {

struct FreePages {
    std::align_val_t border;

    void operator()(std::byte* data) const noexcept { ::operator delete(data, border); }
};

}  // namespace

RegisteredMemory::~RegisteredMemory() {
    backend_ = nullptr;
    for (Block& block : blocks_) {
        block.unwanted = true;
    }
    free_unwanted();
}

Error RegisteredMemory::add(std::size_t bytes, std::byte*& out) {
    const std::size_t page = ledger_.page_size();
    const std::size_t length = (bytes + page - 1) / page * page;
    if (!ledger_.fits(length / page)) {
        return Error::of(
            Fault::budget,
            "the port's budget has no room for so much registered memory; register less, "
            "or raise the budget");
    }
    try {
        blocks_.reserve(blocks_.size() + 1);
        const std::align_val_t border{page};
        std::unique_ptr<std::byte, FreePages> data(
            static_cast<std::byte*>(::operator new(length, border)), FreePages{border});
        if (const Error error = backend_->pin(data.get(), length)) {
            return error.fault == Fault::system ? calls_.error(error.code) : error;
        }
        std::memset(data.get(), 0, length);
        blocks_.push_back({data.get(), length, false});
        out = data.release();
    } catch (const std::bad_alloc&) {
        return Error::of(Fault::resource, "the system has no memory for the block to register");
    }
    ledger_.add_registered(length);
    return {};
}

void RegisteredMemory::remove(const std::byte* data) noexcept {
    for (Block& block : blocks_) {
        if (block.data == data) {
            block.unwanted = true;
        }
    }
    if (backend_ == nullptr) {
        free_unwanted();
    }
}

void RegisteredMemory::free_unwanted() noexcept {
    std::erase_if(blocks_, [this](const Block& block) {
        if (!block.unwanted || (backend_ != nullptr && !backend_->unpin(block.data))) {
            return false;
        }
        ledger_.remove_registered(block.length);
        ::operator delete (block.data, std::align_val_t{ledger_.page_size()});
        return true;
    });
}

bool RegisteredMemory::finds(const std::byte* data, std::size_t length) const noexcept {
    return std::any_of(blocks_.begin(), blocks_.end(), [&](const Block& block) {
        return data >= block.data && data + length <= block.data + block.length;
    });
}

void RegisteredMemory::release_backend() noexcept {
    backend_ = nullptr;
    free_unwanted();
}

}  // namespace iocp
