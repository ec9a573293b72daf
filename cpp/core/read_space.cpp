#include "core/read_space.hpp"

namespace iocp {

bool ReadSpace::reserve(std::size_t bytes) noexcept {
    if (region_ != nullptr && region_->exclusive()) {
        used_ = 0;  // no message uses the region any more
        return true;
    }
    if (region_ != nullptr && region_->size() >= used_ + bytes) {
        return true;
    }
    Region* fresh = pool_.take_region();
    if (fresh == nullptr) {
        return false;
    }
    release();
    region_ = fresh;
    return true;
}

void ReadSpace::release() noexcept {
    if (region_ != nullptr) {
        region_->drop_reference();
        region_ = nullptr;
    }
    used_ = 0;
}

}  // namespace iocp
