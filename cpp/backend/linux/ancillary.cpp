#include "backend/ancillary.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace iocp {

namespace {

// SCM_PIDFD: with SO_PASSPIDFD the kernel opens a pidfd of the sender for the receiver (since 6.5;
// not in older headers).
constexpr int scm_pidfd = 4;

// Calls visit(header, data, length) for every whole item. A header of zeros ends the block.
template <class Visit>
void each_item(const std::byte* block, std::size_t length, Visit&& visit) {
    std::size_t at = 0;
    while (at + sizeof(cmsghdr) <= length) {
        cmsghdr header{};
        std::memcpy(&header, block + at, sizeof header);
        if (header.cmsg_len < CMSG_LEN(0) || header.cmsg_len > length - at) {
            return;
        }
        visit(header, block + at + CMSG_LEN(0), header.cmsg_len - CMSG_LEN(0));
        at += CMSG_ALIGN(header.cmsg_len);
    }
}

}  // namespace

const bool has_ancillary = true;

std::vector<std::byte> ancillary_block(const std::vector<AncillaryItem>& items) {
    std::vector<std::byte> block;
    for (const AncillaryItem& item : items) {
        const std::size_t at = block.size();
        block.resize(at + CMSG_SPACE(item.length));
        cmsghdr header{};
        header.cmsg_len = CMSG_LEN(item.length);
        header.cmsg_level = item.level;
        header.cmsg_type = item.type;
        std::memcpy(block.data() + at, &header, sizeof header);
        if (item.length != 0) {
            std::memcpy(block.data() + at + CMSG_LEN(0), item.data, item.length);
        }
    }
    return block;
}

std::vector<AncillaryItem> ancillary_items(const std::byte* block, std::size_t length) {
    std::vector<AncillaryItem> items;
    each_item(block, length, [&](const cmsghdr& header, const std::byte* data, std::size_t size) {
        items.push_back({header.cmsg_level, header.cmsg_type, data, size});
    });
    return items;
}

void close_passed(const std::byte* block, std::size_t length) noexcept {
    each_item(block, length, [](const cmsghdr& header, const std::byte* data, std::size_t size) {
        if (header.cmsg_level != SOL_SOCKET ||
            (header.cmsg_type != SCM_RIGHTS && header.cmsg_type != scm_pidfd)) {
            return;
        }
        for (std::size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
            int descriptor = -1;
            std::memcpy(&descriptor, data + at, sizeof descriptor);
            (void)::close(descriptor);
        }
    });
}

}  // namespace iocp
