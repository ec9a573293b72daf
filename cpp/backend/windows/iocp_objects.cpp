// IocpBackend: waits for objects of the system that are no sockets.
#include <new>

#include "backend/windows/call.hpp"
#include "backend/windows/iocp_backend.hpp"

namespace iocp {

StartResult IocpBackend::wait_for_object(Operation& op) {
    if (op.kind != OperationKind::zero_byte) {
        return failed(WSAEOPNOTSUPP);
    }
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    request->object.reset(new (std::nothrow) ObjectWait(port_, request->overlapped));
    const DWORD code = request->object == nullptr
                           ? static_cast<DWORD>(WSA_NOT_ENOUGH_MEMORY)
                           : request->object->start(handle_of(socket_of(*op.socket)));
    if (code != 0) {
        requests_.give_back(*request);
        return failed(static_cast<int>(code));
    }
    members_.find(op.socket->id)->receiving = request;
    return {};
}

StartResult IocpBackend::attempt_on_object(const Operation& op) {
    if (op.kind != OperationKind::zero_byte) {
        return failed(WSAEOPNOTSUPP);
    }
    const int found = ObjectWait::is_signalled(handle_of(socket_of(*op.socket)));
    return found < 0 ? failed(-found) : StartResult{found != 0 ? Start::done : Start::pending, 0};
}

}  // namespace iocp
