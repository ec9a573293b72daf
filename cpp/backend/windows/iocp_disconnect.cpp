// IocpBackend: disconnects, which end a connection and keep its socket.
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
        // Wine 8.0 reports the disconnect as pending although it is over, and then skips its
        // packet. So the backend posts a packet of its own, behind any that the system may have
        // queued, and ignores the system's.
        request->announced = port_.announce(request->overlapped);
    }
    return result;
}

}  // namespace iocp
