#include "backend/linux/message_header.hpp"

namespace iocp {

msghdr header_of(const Operation& op, iovec* parts, std::size_t count) noexcept {
    msghdr header{};
    header.msg_iov = parts;
    header.msg_iovlen = count;
    Message* message = op.message();
    if (message == nullptr) {
        return header;
    }
    header.msg_name = message->address.bytes.data();
    header.msg_namelen = message->address.length;
    if (!op.sending()) {
        header.msg_namelen = static_cast<socklen_t>(message->address.bytes.size());
    } else if (header.msg_namelen == 0) {
        header.msg_name = nullptr;
    }
    // Ancillary data of a stream goes with its first byte.
    if (message->control != nullptr && op.transferred == 0) {
        header.msg_control = message->control;
        header.msg_controllen = message->control_length;
    }
    return header;
}

std::int32_t take_answer(const Operation& op, const msghdr& header) noexcept {
    if (Message* message = op.message()) {
        message->address.length = header.msg_namelen;
        message->control_length = header.msg_controllen;
    }
    return header.msg_flags & ~MSG_CMSG_CLOEXEC;
}

}  // namespace iocp
