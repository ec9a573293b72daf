#include "backend/linux/standing_receives.hpp"

#include <algorithm>

#include "base/slot_table.hpp"

namespace iocp {

void StandingReceives::began(std::uint64_t name, int fd) {
    const SlotId id = SlotId::unpack(name);
    if (id.slot >= standing_.size()) {
        standing_.resize(id.slot + std::size_t{1});
    }
    doubted_.reserve(standing_.size());  // so that completed() never allocates
    Standing& entry = standing_[id.slot];
    entry.generation = id.generation;
    entry.fd = fd;
    entry.bytes = 0;
    entry.heard = 0;
    entry.owed = 0;
}

void StandingReceives::completed(const uring::Cqe& cqe) {
    const SlotId id = SlotId::unpack(cqe.user_data);
    if (id.slot >= standing_.size()) {
        return;
    }
    Standing& entry = standing_[id.slot];
    if (entry.fd < 0 || entry.generation != id.generation) {
        return;
    }
    if ((cqe.flags & uring::cqe_f_more) == 0) {
        entry.fd = -1;
        return;
    }
    const auto got = static_cast<std::uint32_t>(std::max(cqe.res, 0));
    entry.bytes = std::min(entry.bytes + std::min(got, doubtful_bytes), doubtful_bytes);
    entry.heard = 1;
    entry.owed = (cqe.flags & uring::cqe_f_sock_nonempty) != 0 ? 1 : 0;
    if (entry.bytes == doubtful_bytes) {
        if (entry.doubted == 0) {
            entry.doubted = 1;
            doubted_.push_back(id.slot);
        }
    } else if (entry.owed == 0) {
        entry.bytes = 0;
    }
}

// Finds the requests whose socket has data that no completion has reported. A request whose next
// completion the kernel has announced stays in doubt. Its socket is polled if that completion has
// not arrived by the next call.
void StandingReceives::find_lost() {
    asked_.clear();
    if (doubted_.empty()) {
        return;
    }
    asked_.reserve(doubted_.size());
    lost_.reserve(doubted_.size());
    std::size_t kept = 0;
    for (const std::uint32_t slot : doubted_) {
        Standing& entry = standing_[slot];
        if (entry.fd >= 0 && entry.heard != 0 && entry.owed != 0) {
            entry.heard = 0;
            doubted_[kept++] = slot;
            continue;
        }
        entry.doubted = 0;
        entry.bytes = 0;
        if (entry.fd >= 0) {
            asked_.push_back({entry.fd, POLLIN | POLLRDHUP, 0});
            lost_.push_back(SlotId{slot, entry.generation}.packed());
        }
    }
    doubted_.resize(kept);
    if (asked_.empty() || ::poll(asked_.data(), asked_.size(), 0) <= 0) {
        lost_.clear();
        return;
    }
    std::size_t found = 0;
    for (std::size_t i = 0; i < asked_.size(); ++i) {
        if (asked_[i].revents != 0) {
            lost_[found++] = lost_[i];
        }
    }
    lost_.resize(found);
}

void StandingReceives::clear() noexcept {
    standing_.clear();
    doubted_.clear();
    lost_.clear();
}

}  // namespace iocp
