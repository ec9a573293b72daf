// Sends from a file (R32).
#include "base/process.hpp"
#include "contract.hpp"

namespace iocp::contract {
namespace {

// A temporary file. A test may close it as soon as its send is posted, because the operation has a
// handle of its own.
class File {
public:
    explicit File(const Bytes& bytes) : handle_(platform::make_file(bytes)) {
        EXPECT_NE(handle_, no_handle);
    }
    ~File() { platform::close_file(handle_); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    [[nodiscard]] Handle handle() const { return handle_; }

private:
    Handle handle_;
};

Bytes part(const Bytes& whole, std::size_t from, std::size_t count) {
    const auto first = whole.begin() + static_cast<std::ptrdiff_t>(from);
    return {first, first + static_cast<std::ptrdiff_t>(count)};
}

TEST_P(Systems, AFileArrivesWholeAndIsChargedNothing) {
    for (const bool tcp : {true, false}) {
        const auto [one, other] = tcp ? engine().pair() : engine().adopted_pair();
        for (const std::size_t length : {std::size_t{0}, std::size_t{1}, system_page_size(),
                                         system_page_size() + 1, 5 * mebibyte}) {
            const Op* op = nullptr;
            {
                const File file(pattern(length));
                op = &engine().send_file(*one, file.handle(), 0, length);
            }
            EXPECT_EQ(engine().charged(), 0U);
            EXPECT_EQ(read_exactly(*other, length), pattern(length));
            ASSERT_TRUE(engine().finish_one(*op));
            EXPECT_TRUE(op->succeeded()) << op->error.code;
            EXPECT_EQ(op->transferred, length);
        }
    }
}

TEST_P(Systems, AnyPartOfAFileCanBeSent) {
    const Bytes whole = pattern(3 * mebibyte);
    const File file(whole);
    const auto [one, other] = engine().pair();
    const std::vector<std::pair<std::size_t, std::size_t>> parts{
        {0, 10}, {1, 4096}, {4095, 2}, {4096, 4096}, {70'001, 1'500'003}, {whole.size() - 1, 1}};
    for (const auto& [from, count] : parts) {
        const Op& op = engine().send_file(*one, file.handle(), from, count);
        EXPECT_EQ(read_exactly(*other, count), part(whole, from, count));
        ASSERT_TRUE(engine().finish_one(op));
        EXPECT_EQ(op.transferred, count);
    }
}

TEST_P(Systems, AFileThatEndsBeforeItsCountEndsItsSend) {
    const Bytes whole = pattern(100'000);
    const File file(whole);
    const auto [one, other] = engine().pair();
    const Op& some = engine().send_file(*one, file.handle(), 40'000, 100'000);
    const Op& none = engine().send_file(*one, file.handle(), 200'000, 10);
    engine().send(*one, text("behind"));
    EXPECT_EQ(read_exactly(*other, 60'000), part(whole, 40'000, 60'000));
    EXPECT_EQ(read_exactly(*other, 6), text("behind"));
    ASSERT_TRUE(engine().run_until([&] { return some.finished() && none.finished(); }));
    EXPECT_TRUE(some.succeeded()) << some.error.code;
    EXPECT_EQ(some.transferred, 60'000U);
    EXPECT_TRUE(none.succeeded()) << none.error.code;
    EXPECT_EQ(none.transferred, 0U);
}

TEST_P(Systems, AFileKeepsItsPlaceAmongTheSends) {
    const auto [one, other] = engine().pair();
    Bytes all;
    std::vector<Op*> ops;
    for (std::size_t i = 0; i < 30; ++i) {
        const Bytes next = pattern(1 + ((i * 7919) % 300'000), all.size());
        all.insert(all.end(), next.begin(), next.end());
        if (i % 3 == 1) {
            const File file(next);
            ops.push_back(&engine().send_file(*one, file.handle(), 0, next.size()));
        } else {
            ops.push_back(&engine().send(*one, next, {.batched = i % 2 == 0}));
        }
    }
    EXPECT_EQ(read_exactly(*other, all.size()), all);
    ASSERT_TRUE(engine().finish_all(ops));
    for (const Op* op : ops) {
        EXPECT_TRUE(op->succeeded());
    }
}

TEST_P(Systems, AFileWaitsForThePeerToRead) {
    const Bytes whole = pattern(32 * mebibyte);
    const File file(whole);
    const auto [one, other] = engine().pair();
    const Op& op = engine().send_file(*one, file.handle(), 0, whole.size());
    EXPECT_EQ(op.outcome, Outcome::pending);
    engine().settle(50);
    EXPECT_FALSE(op.finished());
    EXPECT_EQ(engine().charged(), 0U);
    EXPECT_EQ(engine().view().kernel_locked, 0U);
    EXPECT_EQ(read_exactly(*other, whole.size()), whole);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.transferred, whole.size());
}

TEST_P(Systems, AFileThatIsCutMeanwhileEndsItsSend) {
    const std::size_t length = 32 * mebibyte;
    const File file(pattern(length));
    const auto [one, other] = engine().pair();
    const Op& op = engine().send_file(*one, file.handle(), 0, length);
    engine().settle(50);
    ASSERT_FALSE(op.finished());
    platform::cut_file(file.handle(), mebibyte);
    Op& stream = engine().subscribe(*other, ReceiveStrategy::pooled);
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_TRUE(op.succeeded()) << op.error.code;
    EXPECT_GE(op.transferred, mebibyte);
    EXPECT_LT(op.transferred, length);
    engine().send(*one, text("behind"));
    engine().shutdown_sending(*one);
    ASSERT_TRUE(engine().finish_one(stream));
    EXPECT_EQ(stream.received.size(), op.transferred + 6) << "the count is exact";
    EXPECT_EQ(part(stream.received, op.transferred, 6), text("behind"));
}

TEST_P(Systems, AFileCancelledPartWayEndsTheStreamsFraming) {
    const Bytes whole = pattern(32 * mebibyte);
    const File file(whole);
    const auto [one, other] = engine().pair();
    const Op& op = engine().send_file(*one, file.handle(), 0, whole.size());
    const Op& behind = engine().send(*one, text("never"));
    Bytes got = read_exactly(*other, 100'000);
    EXPECT_TRUE(engine().cancel(op));
    ASSERT_TRUE(engine().finish_one(op));
    EXPECT_EQ(op.error.fault, Fault::cancelled);
    EXPECT_GE(op.transferred, got.size());
    EXPECT_LT(op.transferred, whole.size());
    ASSERT_TRUE(engine().finish_one(behind));
    EXPECT_TRUE(behind.error);
    EXPECT_TRUE(engine().send(*one, text("never")).refusal);
    EXPECT_TRUE(engine().send_file(*one, file.handle(), 0, 10).refusal);
    const Bytes rest = read_exactly(*other, op.transferred - got.size());
    got.insert(got.end(), rest.begin(), rest.end());
    EXPECT_EQ(got, part(whole, 0, op.transferred)) << "the count is exact";
    const Op& last = engine().receive(*other, 10);
    engine().settle();
    engine().close(*one);
    ASSERT_TRUE(engine().finish_one(last));
    EXPECT_TRUE(platform::is_reset(last.error.code)) << "no end of the stream after a part";
    EXPECT_EQ(last.transferred, 0U) << "not one byte more";
}

TEST_P(Systems, AFileGoesOutWithADrainAndEndsWithAClose) {
    const Bytes whole = pattern(16 * mebibyte);
    const File file(whole);
    const auto [one, other] = engine().pair();
    const Op& drained = engine().send_file(*one, file.handle(), 0, whole.size());
    engine().close(*one, 60'000'000'000);
    EXPECT_EQ(read_exactly(*other, whole.size()), whole);
    ASSERT_TRUE(engine().finish_one(drained));
    EXPECT_TRUE(drained.succeeded());
    const auto [two, peer] = engine().pair();
    const Op& ended = engine().send_file(*two, file.handle(), 0, whole.size());
    engine().settle();
    engine().close(*two);
    ASSERT_TRUE(engine().finish_one(ended));
    EXPECT_EQ(ended.error.fault, Fault::timed_out);
    ASSERT_TRUE(engine().run_until([&, at = two] { return engine().is_closed(*at); }));
    (void)peer;
}

// Both ends of a connection send a file while other threads post receives. No receive may fail
// because the send of a file makes its socket non-blocking meanwhile.
TEST_P(Systems, FilesBothWaysDisturbNoReceive) {
    const Bytes whole = pattern(8 * mebibyte);
    const File file(whole);
    const auto [one, other] = engine().pair();
    std::vector<Op*> ops{&engine().send_file(*one, file.handle(), 0, whole.size()),
                         &engine().send_file(*other, file.handle(), 0, whole.size())};
    constexpr std::size_t pieces = 64;
    std::vector<Op*> there;
    std::vector<Op*> back;
    EXPECT_TRUE(run_with_threads(2, [&, at = one, to = other](std::size_t number) {
        for (std::size_t i = 0; i < pieces; ++i) {
            auto& list = number == 0 ? there : back;
            list.push_back(&engine().receive(number == 0 ? *to : *at, whole.size() / pieces,
                                             {.flags = platform::flag_wait_all}));
        }
    }));
    ops.insert(ops.end(), there.begin(), there.end());
    ops.insert(ops.end(), back.begin(), back.end());
    ASSERT_TRUE(engine().finish_all(ops));
    for (const Op* op : ops) {
        EXPECT_TRUE(op->succeeded()) << op->error.code;
    }
    EXPECT_EQ(taken(there), whole);
    EXPECT_EQ(taken(back), whole);
}

TEST_P(Systems, AFileNeedsAConnectedStream) {
    const File file(pattern(100));
    Socket& datagram = engine().bound(platform::type_datagram);
    EXPECT_EQ(engine().send_file(datagram, file.handle(), 0, 100).refusal.fault, Fault::argument);
    Socket& fresh = engine().open();
    const Op& op = engine().send_file(fresh, file.handle(), 0, 100);
    if (op.accepted) {
        ASSERT_TRUE(engine().finish_one(op));
    }
    EXPECT_TRUE(op.accepted ? op.error : op.refusal);
    EXPECT_EQ(fresh.state, SocketState::open);
}

TEST_P(Systems, AFileToAPeerThatIsGoneEndsTheSocket) {
    const File file(pattern(mebibyte));
    const auto [one, other] = engine().pair();
    engine().abort(*other);
    ASSERT_TRUE(engine().run_until([&, at = other] { return engine().is_closed(*at); }));
    ASSERT_TRUE(engine().run_until([&, at = one] {
        const Op& op = engine().send_file(*at, file.handle(), 0, mebibyte);
        engine().settle();
        return !op.accepted || engine().is_closed(*at);
    }));
    ASSERT_TRUE(engine().run_until([&, at = one] { return engine().is_closed(*at); }));
}

}  // namespace
}  // namespace iocp::contract
