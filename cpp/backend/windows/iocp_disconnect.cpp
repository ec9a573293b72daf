// IocpBackend: a connection ends and its socket stays.
#include "backend/windows/call.hpp"
#include "backend/windows/iocp_backend.hpp"

namespace iocp {

StartResult IocpBackend::disconnect(Operation& op) {
    Request* request = new_request(op);
    if (request == nullptr) {
        return failed(WSA_NOT_ENOUGH_MEMORY);
    }
    Member& member = *members_.find(op.socket->id);
    const bool at_once =
        winsock_.disconnect_ex(member.socket, &request->overlapped,
                               op.reuse ? static_cast<DWORD>(TF_REUSE_SOCKET) : 0, 0) != FALSE;
    const StartResult result = started(op, *request, at_once, 0);
    if (result.start == Start::pending && !at_once && member.skips &&
        static_cast<LONG>(request->overlapped.Internal) != STATUS_PENDING) {
        // The disconnect is over though it is said to be pending, and Wine 8.0 skips its packet
        // even so. We post a packet behind any that the system may have queued, and only ours
        // counts.
        request->announced = port_.announce(request->overlapped);
    }
    return result;
}

}  // namespace iocp
