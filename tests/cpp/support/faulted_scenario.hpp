#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "contract.hpp"

// A scenario that connects, accepts, echoes and closes while any system call or allocation may
// fail. An error ends the scenario. It waits only for the end of operations and for errors.
namespace iocp::contract {

// The outcome of a run: everything succeeded, a call or a post was refused, or an accepted
// operation ended with an error (its own or its socket's).
enum class Came : std::uint8_t { success, refused, failed };
inline constexpr std::size_t outcomes = 3;

enum class Scenario : std::uint8_t { operations, subscriptions, waiting, direct, timers };
inline constexpr std::array<const char*, 5> scenario_names{"operations", "subscriptions", "waiting",
                                                           "direct", "timers"};

class FaultedScenario {
public:
    explicit FaultedScenario(Scenario scenario) : scenario_(scenario) {}

    // Runs the scenario. This object must outlive the engine, whose last results go to callbacks of
    // this object.
    Came run(Engine& engine) {
        engine_ = &engine;
        const bool whole = connect() && exchange() && end();
        return whole ? Came::success : came_;
    }

private:
    static constexpr std::size_t bytes = 120'000;  // more than the system's buffers hold

    bool refused() {
        came_ = Came::refused;
        return false;
    }

    Socket* open() {
        Socket* socket = nullptr;
        const bool made = engine_->locked([&] {
            // The buffers are small, so that sends must wait. But the window must hold two
            // segments: otherwise only the sender's persist timer would fill it, and a run would
            // take minutes.
            constexpr int small = 16 << 10;
            Backend& backend = engine_->port().backend();
            const auto shrink = [&](int option) {
                return backend.set_option(*socket, platform::level_socket, option, &small,
                                          sizeof small) == 0;
            };
            return !engine_->port().sockets().open(family_inet, type_stream, 0, socket) &&
                   shrink(platform::option_send_buffer) && shrink(platform::option_receive_buffer);
        });
        return made ? socket : nullptr;
    }
    bool listens(Socket& socket, Address& address) {
        try {
            return engine_->locked([&] {
                Backend& backend = engine_->port().backend();
                return backend.bind(socket, Engine::loopback()) == 0 &&
                       backend.listen(socket, 8) == 0 &&
                       backend.name_of(socket, false, address) == 0;
            });
        } catch (const std::bad_alloc&) {
            return false;
        }
    }

    bool connect() {
        Socket* listener = open();
        Address address;
        client_ = listener != nullptr ? open() : nullptr;
        if (client_ == nullptr || !listens(*listener, address)) {
            return refused();
        }
        const bool each = scenario_ == Scenario::subscriptions;
        Op& accept =
            engine_->post(*listener, each ? OperationKind::accept_each : OperationKind::accept);
        accept.may_fail_accepts = true;
        const Op& reach = engine_->connect(*client_, address);
        if (!until([&] { return each ? !accept.connections.empty() : accept.finished(); },
                   {&accept, &reach}) ||
            !until([&] { return reach.finished(); }, {&accept, &reach})) {
            return false;
        }
        server_ = each ? accept.connections.front() : accept.connection;
        return true;
    }

    bool exchange() {
        switch (scenario_) {
            case Scenario::operations:
                return there(SendStrategy::buffered) && back();
            case Scenario::direct:
                return there(SendStrategy::direct) && back();
            case Scenario::waiting:
                return looks() && there(SendStrategy::when_writable) && back();
            case Scenario::subscriptions:
                return echo();
            case Scenario::timers:
                return timed() && back();
        }
        return false;
    }

    // Posts two small sends that share a request, and one that is larger than the system's buffers.
    bool there(SendStrategy strategy) {
        const Error none = engine_->locked(
            [&] { return engine_->port().sockets().set_send_strategy(*client_, strategy); });
        if (none) {
            return refused();
        }
        const Op& got = engine_->receive(*server_, bytes, {.flags = platform::flag_wait_all});
        const Op& hello = engine_->send(*client_, pattern(4), {.batched = true});
        const Op& more = engine_->send(*client_, pattern(996, 4), {.batched = true});
        const Op& rest = engine_->send(*client_, pattern(bytes - 1000, 1000));
        if (!until([&] { return got.finished() && rest.finished(); },
                   {&got, &hello, &more, &rest})) {
            return false;
        }
        EXPECT_EQ(taken(got), pattern(bytes));
        return true;
    }
    bool back() {
        const Op& got = engine_->receive(*client_, 1000);
        const Op& answer = engine_->send(*server_, pattern(1000));
        return until([&] { return got.finished() && answer.finished(); }, {&got, &answer});
    }
    bool looks() {
        const Op& look = engine_->post(*client_, OperationKind::zero_byte);
        const Op& hello = engine_->send(*server_, pattern(100));
        if (!until([&] { return look.finished() && hello.finished(); }, {&look, &hello})) {
            return false;
        }
        const Op& got = engine_->receive(*client_, 100);
        const Op& room = engine_->post(*server_, OperationKind::writable);
        return until([&] { return got.finished() && room.finished(); }, {&got, &room});
    }

    bool echo() {
        Op& back = engine_->subscribe(*client_, ReceiveStrategy::pooled);
        Op& there = engine_->subscribe(*server_, ReceiveStrategy::direct, [&](Op& op) {
            op.on_data = [&](Op& from, const Slice& slice) {
                const Bytes answer(slice.data(), slice.data() + slice.length());
                answers_.push_back(&engine_->send(*from.socket, answer, {.batched = true}));
            };
        });
        const Op& sent = engine_->send(*client_, pattern(bytes / 2));
        if (!until([&] { return back.received.size() == bytes / 2; }, {&back, &there, &sent})) {
            return false;
        }
        const Error none = engine_->locked([&] {
            return engine_->port().sockets().set_receive_strategy(*server_,
                                                                  ReceiveStrategy::zero_byte);
        });
        const Op& rest = engine_->send(*client_, pattern(bytes / 2, bytes / 2));
        if (none ||
            !until([&] { return back.received.size() == bytes; }, {&back, &there, &sent, &rest})) {
            return none ? refused() : false;
        }
        EXPECT_EQ(back.received, pattern(bytes));
        return true;
    }

    // Uses a deadline that passes, deadlines that do not, a cancel, a timer and a posted packet.
    bool timed() {
        constexpr std::int64_t soon = 1'000'000;
        const Op& late = engine_->receive(*server_, 100, {.timeout = soon});
        const Op& asked = engine_->receive(*server_, 100, {.timeout = 1'000'000'000});
        if (!late.accepted || !asked.accepted) {
            return refused();
        }
        bool called = false;
        bool posted = false;
        engine_->locked([&] {
            Port& port = engine_->port();
            called = port.timers().call_at(port.now() + soon, engine_) != nullptr;
            posted = !port.operations().post_packet(this);
        });
        if (!until([&] { return late.finished(); }, {})) {
            return false;
        }
        EXPECT_EQ(late.error.fault, Fault::timed_out);
        engine_->cancel(asked);
        if (!until(
                [&] {
                    return asked.finished() && engine_->timers == (called ? 1U : 0U) &&
                           engine_->packets.size() == (posted ? 1U : 0U);
                },
                {})) {
            return false;
        }
        EXPECT_EQ(asked.error.fault, Fault::cancelled);
        const Op& got = engine_->receive(*server_, 100, {.timeout = 1'000'000'000});
        const Op& hello = engine_->send(*client_, pattern(100), {.timeout = 1'000'000'000});
        return until([&] { return got.finished() && hello.finished(); }, {&got, &hello});
    }

    // Shuts down the client's sending side, waits until the server sees the end of the stream, and
    // closes both sockets.
    bool end() {
        Op* seen = nullptr;
        if (scenario_ != Scenario::subscriptions) {
            seen = &engine_->receive(*server_, 1);
            if (engine_->locked(
                    [&] { return engine_->port().sockets().shutdown(*client_, false, true); })) {
                return refused();
            }
            if (!until([&] { return seen->finished(); }, {seen})) {
                return false;
            }
            EXPECT_EQ(seen->transferred, 0U);
        }
        engine_->close(*client_, 1'000'000'000);
        engine_->close(*server_, 1'000'000'000);
        return until([&] { return engine_->is_closed(*client_) && engine_->is_closed(*server_); },
                     {});
    }

    // Makes turns until done() is true. Returns false after an error, which may keep done() from
    // ever being true.
    bool until(const std::function<bool()>& done, std::initializer_list<const Op*> ops) {
        constexpr std::int64_t patience = 20'000'000'000;
        const std::int64_t deadline = engine_->port().now() + patience;
        for (;;) {
            std::vector<const Op*> all(ops);
            all.insert(all.end(), answers_.begin(), answers_.end());
            for (const Op* op : all) {
                if (!op->accepted) {
                    return refused();
                }
                if (op->finished() && op->error) {
                    came_ = Came::failed;
                    return false;
                }
            }
            if (done()) {
                return true;
            }
            if (engine_->turn(deadline)) {
                return refused();
            }
            if (engine_->port().now() >= deadline) {
                ADD_FAILURE() << "the step neither ended nor failed before its deadline";
                return false;
            }
        }
    }

    Engine* engine_{nullptr};
    Scenario scenario_;
    Came came_{Came::refused};
    Socket* client_{nullptr};
    Socket* server_{nullptr};
    std::vector<const Op*> answers_;
};

}  // namespace iocp::contract
