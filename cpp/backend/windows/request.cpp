#include "backend/windows/request.hpp"

#include <new>

#include "backend/windows/call.hpp"

namespace iocp {

int failure_of(SOCKET socket, Request& request) noexcept {
    if (static_cast<LONG>(request.overlapped.Internal) >= 0) {
        return 0;
    }
    DWORD bytes = 0;
    DWORD flags = 0;
    if (::WSAGetOverlappedResult(socket, &request.overlapped, &bytes, FALSE, &flags) != FALSE) {
        return 0;
    }
    return last_error();
}

bool lost_with_its_thread(const Request& request) noexcept {
    return request.kind == OperationKind::send && !request.readiness_only &&
           static_cast<NTSTATUS>(request.overlapped.Internal) == STATUS_PENDING;
}

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
