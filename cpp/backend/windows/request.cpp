#include "backend/windows/request.hpp"

#include <new>

namespace iocp {

Request* RequestPool::take() noexcept {
    if (free_ == nullptr) {
        try {
            auto fresh = std::make_unique<std::array<Request, chunk>>();
            std::array<Request, chunk>& requests = *fresh;
            chunks_.push_back(std::move(fresh));
            for (Request& request : requests) {
                request.next = free_;
                free_ = &request;
            }
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
    }
    Request* request = free_;
    free_ = request->next;
    request->next = nullptr;
    ++taken_;
    return request;
}

void RequestPool::give_back(Request& request) noexcept {
    request = Request{};
    request.next = free_;
    free_ = &request;
    --taken_;
}

}  // namespace iocp
