#include "run/runner_lock.hpp"

#include <cassert>

namespace iocp::run {

bool RunnerLock::acquire(Purpose purpose) {
    if (forked()) {
        return false;
    }
    const std::lock_guard lock(mutex_);
    if (runner_.load() != std::thread::id() || (purpose == Purpose::wait && contenders_ != 0)) {
        return false;
    }
    runner_ = std::this_thread::get_id();
    purpose_ = purpose;
    return true;
}

RunnerLock::Answer RunnerLock::contend() {
    if (forked()) {
        return Answer::refused;
    }
    const std::lock_guard lock(mutex_);
    assert(contenders_ != 0);
    const std::thread::id runner = runner_;
    if (runner != std::thread::id()) {
        return purpose_ == Purpose::wait && runner != std::this_thread::get_id() ? Answer::lent
                                                                                 : Answer::refused;
    }
    runner_ = std::this_thread::get_id();
    purpose_ = Purpose::run;
    return Answer::acquired;
}

void RunnerLock::release() noexcept {
    if (forked()) {
        return;
    }
    const std::lock_guard lock(mutex_);
    assert(runner_.load() == std::this_thread::get_id());
    runner_ = std::thread::id();
}

bool RunnerLock::mine() const {
    if (forked()) {
        return false;
    }
    return runner_.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

bool RunnerLock::contended() const {
    if (forked()) {
        return false;
    }
    const std::lock_guard lock(mutex_);
    return contenders_ != 0;
}

bool RunnerLock::gives_way() const {
    if (contenders_.load(std::memory_order_relaxed) == 0 || forked()) {
        return false;
    }
    const std::lock_guard lock(mutex_);
    return contenders_ != 0 && purpose_ == Purpose::wait &&
           runner_.load() == std::this_thread::get_id();
}

void RunnerLock::begin_contending() {
    const std::lock_guard lock(mutex_);
    ++contenders_;
}

void RunnerLock::end_contending() noexcept {
    if (forked()) {
        return;
    }
    const std::lock_guard lock(mutex_);
    assert(contenders_ != 0);
    --contenders_;
}

}  // namespace iocp::run
