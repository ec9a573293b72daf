#pragma once

#include <mutex>
#include <type_traits>
#include <utility>

#include "core/port.hpp"
#include "run/host.hpp"

namespace iocp::run {

// Runs `work` with the mutex held. A thread that has to wait for the mutex does so inside
// `detach(call)`. Otherwise it would block while attached to the program's interpreter, and keep
// other threads from running.
template <class Detach, class Work>
auto with_lock(std::mutex& mutex, Detach&& detach, Work&& work) {
    using Result = std::invoke_result_t<Work>;
    if (mutex.try_lock()) {
        const std::lock_guard guard(mutex, std::adopt_lock);
        return work();
    }
    if constexpr (std::is_void_v<Result>) {
        auto wait = [&] {
            const std::lock_guard guard(mutex);
            work();
        };
        detach(wait);
    } else {
        Result result{};
        auto wait = [&] {
            const std::lock_guard guard(mutex);
            result = work();
        };
        detach(wait);
        return result;
    }
}

// Runs `work` with the port's lock held.
template <class Work>
auto locked(Host& host, Port& core, Work&& work) {
    return with_lock(
        core.mutex(), [&host](auto& wait) { host.detach(Blocking(wait)); }, work);
}

}  // namespace iocp::run
