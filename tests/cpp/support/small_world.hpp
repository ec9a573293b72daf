#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "backend/sim/world.hpp"
#include "contract.hpp"

// A small model: two connected sockets of one port, a program of a few operations on them, and its
// outcome. The class is lean, because a test makes hundreds of thousands of such models.
namespace iocp::small {

using contract::Bytes;
using sim::Parameters;

enum class Act : std::uint8_t {
    send,
    receive,
    subscribe,
    shut,
    close,
    cancel,
    look,
    abort,
    note,
    batch,
    hurry,
    room,
    post_block,
    share_pool,
};
inline constexpr std::array<const char*, 14> act_names{"send 20,000 B",
                                                       "receive",
                                                       "subscribe",
                                                       "shut down sending",
                                                       "close",
                                                       "cancel",
                                                       "zero-byte",
                                                       "abort",
                                                       "send 100 B",
                                                       "send 300 B with the next flush",
                                                       "receive within 1 ms",
                                                       "wait for room",
                                                       "receive into posted blocks",
                                                       "receive into shared memory"};

// The time before an operation: none, the wire's delay in one direction, or one second.
enum class Gap : std::uint8_t { none, hop, calm };
inline constexpr std::array<const char*, 3> gap_names{"", "a hop, ", "a rest, "};

struct Step {
    Gap gap;
    Act act;
    unsigned side;
};
using Program = std::vector<Step>;

inline std::string text_of(const Program& program) {
    std::string text;
    for (const Step& step : program) {
        text += std::string(gap_names[static_cast<std::size_t>(step.gap)]) + "socket " +
                std::to_string(step.side) + ": " + act_names[static_cast<std::size_t>(step.act)] +
                "; ";
    }
    return text;
}

// The part of a program's outcome that stays the same if the wire loses segments.
struct Outcome {
    std::vector<std::string> fates;
    std::array<Bytes, 2> received;
    std::array<int, 2> ends{};

    bool operator==(const Outcome&) const = default;
};

class SmallWorld {
public:
    explicit SmallWorld(const Parameters& parameters, PortOptions options = {},
                        std::uint64_t seed = 1)
        : budget_(options.budget_bytes),
          world_(std::make_shared<sim::World>(parameters, seed)),
          pool_(BufferPool::create(4096, region_bytes, 16)) {
        options.region_size = region_bytes;
        options.backend.world = world_;
        BackendReason reason;
        port_ = std::make_unique<Port>(options, *pool_,
                                       make_backend("sim", *pool_, options.backend, reason));
        posts_.reserve(max_posts);
        join();
    }
    ~SmallWorld() {
        port_.reset();
        pool_->close();
    }
    SmallWorld(const SmallWorld&) = delete;
    SmallWorld& operator=(const SmallWorld&) = delete;

    // Runs the program and ten seconds more, closes the port, and expects that all promises were
    // kept.
    Outcome run(const Program& program) {
        for (const Step& step : program) {
            pass(step.gap);
            make(step);
            check();
        }
        rest(10 * second);
        Outcome outcome = seen();
        end();
        return outcome;
    }
    [[nodiscard]] sim::World& world() { return *world_; }

private:
    static constexpr std::size_t region_bytes = 65'536;
    static constexpr std::size_t max_posts = 16;
    // The distance between the data of two sends in source().
    static constexpr std::size_t spacing = 30'000;
    static constexpr std::int64_t no_timeout = -1;
    static constexpr std::int64_t second = 1'000'000'000;
    static constexpr int max_turns = 10'000;

    struct Post {
        unsigned side{0};
        OperationKind kind{OperationKind::receive};
        SlotId id;
        bool accepted{false};
        std::size_t offset{0};  // where a send's data begins in source()
        std::size_t length{0};
        std::array<std::byte, 100> room{};
        Error error;
        std::size_t transferred{0};
        int completions{0};
        int ends{0};  // number of ends of stream delivered to a subscription
        int leases{0};
    };

    static Bytes& source() {
        static Bytes bytes = contract::pattern(max_posts * spacing);
        return bytes;
    }
    static void give_back(void* post) { ++static_cast<Post*>(post)->leases; }

    // Connects the sockets. This may fail, because the injected fault may occur at once.
    void join() {
        std::array<Handle, 2> handles{no_handle, no_handle};
        bool paired = false;
        {
            const sim::World::Access access(*world_);
            paired =
                world_->sockets().pair(*world_->stack.machines().front(), handles[0], handles[1]);
        }
        const std::lock_guard lock(port_->mutex());
        for (std::size_t i = 0; paired && i < handles.size(); ++i) {
            EXPECT_FALSE(port_->sockets().adopt({handles[i]}, sockets_[i]));
        }
    }

    void make(const Step& step) {
        const std::lock_guard lock(port_->mutex());
        Socket* socket = sockets_[step.side];
        if (socket == nullptr) {
            return;
        }
        switch (step.act) {
            case Act::send:
                return post(step.side, OperationKind::send, 20'000);
            case Act::note:
                return post(step.side, OperationKind::send, 100);
            case Act::receive:
                return post(step.side, OperationKind::receive, 100);
            case Act::look:
                return post(step.side, OperationKind::zero_byte, 0);
            case Act::batch:
                return post(step.side, OperationKind::send, 300, no_timeout, true);
            case Act::hurry:
                return post(step.side, OperationKind::receive, 100, second / 1000);
            case Act::room:
                return post(step.side, OperationKind::writable, 0);
            case Act::post_block:
                (void)port_->sockets().set_receive_strategy(*socket, ReceiveStrategy::direct);
                return;
            case Act::share_pool:
                (void)port_->sockets().set_receive_strategy(*socket, ReceiveStrategy::pooled);
                return;
            case Act::subscribe:
                return post(step.side, OperationKind::receive_each, 0);
            case Act::shut:
                (void)port_->sockets().shutdown(*socket, false, true);
                return;
            case Act::close:
                return port_->sockets().close(*socket, second);
            case Act::abort:
                return port_->sockets().abort(*socket);
            case Act::cancel:
                for (std::size_t i = posts_.size(); i-- > 0;) {
                    Operation* op = port_->operations().find(posts_[i].id);
                    if (posts_[i].accepted && posts_[i].side == step.side && op != nullptr) {
                        (void)port_->operations().cancel(*op);
                        return;
                    }
                }
                return;
        }
    }

    void post(unsigned side, OperationKind kind, std::size_t length,
              std::int64_t timeout = no_timeout, bool batched = false) {
        Post& made = posts_.emplace_back();
        made.side = side;
        made.kind = kind;
        made.length = length;
        made.offset = spacing * (posts_.size() - 1);
        Operation* op = port_->operations().create(*sockets_[side], kind);
        ASSERT_NE(op, nullptr);
        op->user = &made;
        op->strategy = ReceiveStrategy::zero_byte;
        op->block_size = 4096;
        op->batched = batched;
        std::byte* data =
            kind == OperationKind::send ? source().data() + made.offset : made.room.data();
        op->lease = {data, length, &made, give_back};
        made.id = op->id;
        if (port_->operations().submit(*op, timeout)) {
            op->lease.give_back();
            port_->operations().discard(*op);
        } else {
            made.accepted = true;
        }
    }

    void pass(Gap gap) {
        if (gap == Gap::hop) {
            turn(port_->now() + world_->stack.values.delay);
        } else if (gap == Gap::calm) {
            rest(second);
        }
    }
    void rest(std::int64_t time) {
        const std::int64_t until = port_->now() + time;
        for (int turns = 0; port_->now() < until && turns < max_turns; ++turns) {
            turn(until);
        }
        EXPECT_GE(port_->now(), until) << "too many turns before the deadline";
    }

    void turn(std::int64_t deadline) {
        EXPECT_FALSE(port_->poll(deadline, inbox_));
        const std::lock_guard lock(port_->mutex());
        for (Ready& ready : inbox_) {
            hand_out(ready);
        }
        inbox_.clear();
        check();
    }
    void hand_out(Ready& ready) {
        switch (ready.what) {
            case Ready::What::completed: {
                auto& post = *static_cast<Post*>(ready.op->user);
                ++post.completions;
                post.error = ready.op->error;
                post.transferred = ready.op->transferred;
                if (post.kind == OperationKind::receive) {
                    take(post.side, post.room.data(), post.transferred);
                }
                ready.op->lease.give_back();
                port_->operations().retire(*ready.op);
                break;
            }
            case Ready::What::data: {
                auto& post = *static_cast<Post*>(ready.op->user);
                take(post.side, ready.slice.data(), ready.slice.length());
                post.ends += ready.slice.length() == 0 ? 1 : 0;
                ends_[post.side] += ready.slice.length() == 0 ? 1 : 0;
                ready.slice.reset();
                break;
            }
            case Ready::What::closed:
                for (Socket*& socket : sockets_) {
                    socket = socket == ready.socket ? nullptr : socket;
                }
                port_->sockets().retire(*ready.socket);
                break;
            default:
                break;
        }
    }
    void take(unsigned side, const std::byte* data, std::size_t length) {
        received_[side].insert(received_[side].end(), data, data + length);
    }

    // Returns whether the send was cancelled before any of its bytes was sent.
    static bool taken_back(const Post& post) {
        return post.completions != 0 && post.transferred == 0 && post.error &&
               post.error.fault != Fault::system;
    }
    [[nodiscard]] Bytes sent(unsigned side) const {
        Bytes bytes;
        for (const Post& post : posts_) {
            if (post.side == side && post.kind == OperationKind::send && post.accepted &&
                !taken_back(post)) {
                const std::byte* data = source().data() + post.offset;
                bytes.insert(bytes.end(), data, data + post.length);
            }
        }
        return bytes;
    }

    // Checks the promises that hold at every moment, of the ledger, the budget and the received
    // data.
    void check() {
        std::uint64_t maximum = 0;
        for (const Post& post : posts_) {
            EXPECT_LE(post.completions, 1);
            EXPECT_LE(post.ends, 1);
            const bool unfinished = post.accepted && post.completions == 0;
            const bool subscribes = post.kind == OperationKind::receive_each;
            maximum += unfinished && post.length != 0 ? post.length / 4096 * 4096 + 8192 : 0;
            maximum += unfinished && subscribes ? 8192 : 0;
        }
        const LedgerView ledger = port_->figures().ledger();
        std::uint64_t held = 0;
        port_->operations().table().each([&](const Operation& op) {
            held += op.finished() ? 0 : op.receipt.pages() * std::uint64_t{4096};
        });
        EXPECT_EQ(ledger.now, held) << "the ledger is what unfinished operations hold";
        EXPECT_TRUE(budget_ == 0 || ledger.now <= budget_) << "more is charged than is allowed";
        EXPECT_LE(ledger.now, maximum) << "more is charged than is outstanding";
        const auto& machine = *world_->stack.machines().front();
        EXPECT_LE(static_cast<std::uint64_t>(machine.system.locked()) * 4096, ledger.now)
            << "more is locked than is charged";
        for (unsigned side = 0; side < 2; ++side) {
            const Bytes bytes = received_[side].empty() ? Bytes{} : sent(1 - side);
            EXPECT_LE(received_[side].size(), bytes.size());
            EXPECT_TRUE(std::equal(received_[side].begin(), received_[side].end(), bytes.begin(),
                                   bytes.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                       bytes.size(), received_[side].size()))))
                << "the received bytes are no prefix of the sent ones";
        }
    }

    [[nodiscard]] Outcome seen() const {
        Outcome outcome;
        for (const Post& post : posts_) {
            outcome.fates.push_back(!post.accepted          ? "refused"
                                    : post.completions == 0 ? "outstanding"
                                    : post.error            ? "failed"
                                                            : "done");
        }
        outcome.received = received_;
        outcome.ends = ends_;
        return outcome;
    }

    void end() {
        {
            const std::lock_guard lock(port_->mutex());
            port_->begin_close(0);
        }
        for (int turns = 0; port_->sockets().open_count() != 0 && turns < max_turns; ++turns) {
            turn(port_->now() + second);
        }
        EXPECT_EQ(port_->sockets().open_count(), 0U) << "a socket never closes";
        EXPECT_TRUE(port_->terminate());
        turn(port_->now());
        support::expect_empty(*port_);
        for (const Post& post : posts_) {
            EXPECT_EQ(post.completions, post.accepted ? 1 : 0)
                << "exactly one completion for each accepted post";
            EXPECT_EQ(post.leases, 1);
        }
        port_->release_backend();
        EXPECT_EQ(pool_->blocks_out(), 0U);
        platform::expect_nothing_left(*world_);
    }

    const std::uint64_t budget_;
    std::shared_ptr<sim::World> world_;
    BufferPool* pool_;
    std::unique_ptr<Port> port_;
    std::array<Socket*, 2> sockets_{};
    std::vector<Post> posts_;
    std::vector<Ready> inbox_;
    std::array<Bytes, 2> received_;
    std::array<int, 2> ends_{};
};

}  // namespace iocp::small
