#include "backend/linux/submission.hpp"

namespace iocp {

namespace {

constexpr std::uint32_t send_patience_us = 50;
// If a turn submits more sends than this, its wait ends with their completions and does not expect
// a further one. Small turns keep the caches warm.
constexpr unsigned max_patient_sends = 16;

}  // namespace

void Submission::reuse_memory() noexcept {
    if (ring_.publish() == 0 && backlog_.empty()) {
        memory_.reuse();
    }
}

void Submission::publish() noexcept {
    new_sends_ = queued_sends_;
    queued_sends_ = 0;
    // Submits entries until the whole backlog is in the ring, or the kernel takes no more. The
    // backlog holds entries that were pushed while the ring was full.
    std::size_t moved = 0;
    do {
        while (moved < backlog_.size()) {
            uring::Sqe* slot = ring_.next();
            if (slot == nullptr) {
                break;
            }
            *slot = backlog_[moved++];
        }
        to_submit_ = ring_.publish();
    } while (moved < backlog_.size() && ring_.enter(to_submit_, 0, -1) > 0);
    backlog_.erase(backlog_.begin(), backlog_.begin() + static_cast<std::ptrdiff_t>(moved));
}

void Submission::enter(std::int64_t timeout_ns) noexcept {
    const bool waits = timeout_ns != 0;
    if (!waits && to_submit_ == 0 && !ring_.has_work()) {
        return;  // what has completed is in the ring's memory
    }
    // Most sends complete while they are submitted, and their completions alone should not end the
    // wait. So the wait expects one completion more, but only for a short time, because a send may
    // have to wait for room. After that time the kernel must return with fewer completions, which
    // needs IORING_FEAT_MIN_TIMEOUT.
    const bool patient = waits && new_sends_ != 0 && new_sends_ <= max_patient_sends &&
                         (ring_.features() & uring::feat_min_timeout) != 0;
    const int taken = ring_.enter(to_submit_, patient ? new_sends_ + 1 : (waits ? 1 : 0),
                                  timeout_ns, patient ? send_patience_us : 0);
    if (to_submit_ != 0 && taken < static_cast<int>(to_submit_)) {
        // io_uring_enter(2) fetches completions only after it has submitted all entries. This call
        // fetches them, because a completion may free the resource that the system lacked.
        (void)ring_.enter(0, 0, 0);
    }
    new_sends_ = 0;
}

void Submission::clear() noexcept {
    backlog_.clear();
    queued_sends_ = 0;
}

}  // namespace iocp
