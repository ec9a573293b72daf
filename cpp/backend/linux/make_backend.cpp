#include "backend/linux/epoll_backend.hpp"
#include "backend/linux/uring_backend.hpp"
#include "backend/sim/sim_backend.hpp"
#include "base/process.hpp"

namespace iocp {

std::unique_ptr<Backend> make_backend(std::string_view name, BufferPool& pool,
                                      const BackendOptions& options, BackendReason& reason) {
    if (options.world != nullptr) {
        return sim::make_backend(options.world, reason.text);
    }
    if (name == "uring" || name == "auto") {
        if (auto made = UringBackend::create(pool, options, name == "uring", reason)) {
            if (name == "auto") {
                reason.text = "best available: " + reason.text;
            }
            return made;
        }
        if (name == "uring") {
            return nullptr;
        }
        const std::string refused = "io_uring refused: " + reason.text;
        if (auto made = EpollBackend::create(reason)) {
            reason.text = refused;
            return made;
        }
        reason.text = refused + "; epoll refused: " + reason.text;
        return nullptr;
    }
    if (name == "epoll") {
        auto made = EpollBackend::create(reason);
        if (made != nullptr) {
            reason.text = "asked for";
        }
        return made;
    }
    reason.text = "unknown backend; this platform has 'uring' and 'epoll'";
    return nullptr;
}

std::vector<Surveyed> survey_backends() {
    std::vector<Surveyed> result;
    for (const char* name : {"uring", "epoll"}) {
        BufferPool* pool = BufferPool::create(system_page_size(), system_page_size(), 1);
        Surveyed& found = result.emplace_back();
        found.name = name;
        BackendReason reason;
        const auto made = make_backend(name, *pool, {.ring_entries = 32}, reason);
        found.state = reason.text;
        if (made != nullptr) {
            const Capabilities can = made->capabilities();
            found.state = "ok";
            found.features["multishot_receive"] = can.multishot_receive;
            found.features["zero_copy_send"] = can.zero_copy_send;
            found.features["keeps_posting_order"] = can.ordered;
        }
        pool->close();
    }
    return result;
}

}  // namespace iocp
