// RequestName: an operation's identity and the kind of its request, in the 64 bits of user_data.
#ifdef __linux__
#include "backend/linux/request_name.hpp"

#include <gtest/gtest.h>

namespace iocp {
namespace {

constexpr std::uint32_t last_slot = (std::uint32_t{1} << 30U) - 1;

TEST(RequestNameTest, GivesBackItsOperationAndKind) {
    for (const std::uint32_t slot : {0U, 7U, last_slot}) {
        for (const std::uint32_t generation : {0U, 3U, ~0U}) {
            for (const RequestKind kind :
                 {RequestKind::transfer, RequestKind::empty, RequestKind::ready}) {
                const RequestName name(RequestName({slot, generation}, kind).packed());
                EXPECT_EQ(name.operation().slot, slot);
                EXPECT_EQ(name.operation().generation, generation);
                EXPECT_EQ(name.kind(), kind);
                EXPECT_NE(name.packed(), RequestName::wake);
                EXPECT_NE(name.packed(), RequestName::cancel);
            }
        }
    }
}

TEST(RequestNameTest, IsMadeAgainFromTheOperation) {
    Socket socket;
    Operation receive;
    receive.socket = &socket;
    receive.id = {5, 2};
    Operation send;
    send.socket = &socket;
    send.kind = OperationKind::send;
    send.id = {6, 9};
    const RequestName receiving = RequestName::begin(receive, RequestKind::empty);
    const RequestName sending = RequestName::begin(send, RequestKind::ready);
    EXPECT_EQ(RequestName::of(receive).packed(), receiving.packed());
    EXPECT_EQ(RequestName::of(send).packed(), sending.packed());
    RequestName::begin(send, RequestKind::empty);
    EXPECT_EQ(RequestName::of(send).kind(), RequestKind::empty) << "the latest request";
    EXPECT_EQ(RequestName::of(receive).packed(), receiving.packed()) << "of the other lane";
}

TEST(RequestNameTest, LeavesTheOtherBitsOfTheSocket) {
    Socket socket;
    socket.backend_bits = ~std::uint32_t{0};
    Operation send;
    send.socket = &socket;
    send.kind = OperationKind::send;
    RequestName::begin(send, RequestKind::transfer);
    EXPECT_EQ(socket.backend_bits, ~std::uint32_t{0} & ~(3U << 10U));
}

}  // namespace
}  // namespace iocp
#endif
