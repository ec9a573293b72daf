#pragma once

#include <cstdint>

#include "backend/sim/parameters.hpp"

namespace iocp::sim {

// The resources that one host lends: pages to lock and the non-paged pool. Every charge is given
// back in full.
class System {
public:
    [[nodiscard]] bool lock(const Parameters& limits, std::uint32_t pages) noexcept {
        if (pages == 0) {
            return true;
        }
        if (refused(limits) || (limits.lock_limit != 0 && locked_ + pages > limits.lock_limit)) {
            return false;
        }
        locked_ += pages;
        locked_peak_ = locked_ > locked_peak_ ? locked_ : locked_peak_;
        return true;
    }
    void unlock(std::uint32_t pages) noexcept { locked_ -= pages; }

    [[nodiscard]] bool take_pool(const Parameters& limits, std::int64_t bytes) noexcept {
        if (bytes == 0) {
            return true;
        }
        if (refused(limits) || (limits.pool_limit != 0 && pool_ + bytes > limits.pool_limit)) {
            return false;
        }
        pool_ += bytes;
        pool_peak_ = pool_ > pool_peak_ ? pool_ : pool_peak_;
        return true;
    }
    void give_pool(std::int64_t bytes) noexcept { pool_ -= bytes; }

    [[nodiscard]] std::int64_t locked() const noexcept { return locked_; }
    [[nodiscard]] std::int64_t locked_peak() const noexcept { return locked_peak_; }
    [[nodiscard]] std::int64_t pool() const noexcept { return pool_; }
    [[nodiscard]] std::int64_t pool_peak() const noexcept { return pool_peak_; }
    [[nodiscard]] std::int64_t charges() const noexcept { return charges_; }

private:
    [[nodiscard]] bool refused(const Parameters& limits) noexcept {
        return ++charges_ == limits.refuse_charge;
    }

    std::int64_t locked_{0};
    std::int64_t locked_peak_{0};
    std::int64_t pool_{0};
    std::int64_t pool_peak_{0};
    std::int64_t charges_{0};
};

}  // namespace iocp::sim
