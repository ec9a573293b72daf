#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "backend/sim/event_queue.hpp"
#include "backend/sim/incoming.hpp"
#include "backend/sim/memory.hpp"
#include "backend/sim/name.hpp"
#include "backend/sim/outgoing.hpp"
#include "backend/sim/system.hpp"
#include "ops/operation.hpp"
#include "ops/socket.hpp"

namespace iocp::sim {

struct Endpoint;

// The machine of one port: its memory, its network card, and the packets that wait for the port.
struct Machine {
    struct Due {
        SlotId endpoint;
        bool sending;
    };
    System system;
    std::uint32_t address{0};   // the address of its outgoing connections
    std::int64_t card_free{0};  // when the card has sent its last segment, in virtual time
    Vector<Due> due;
    bool woken{false};
};

// A request of a port that is not answered yet, at most one for each direction of an endpoint.
struct Request {
    bool active{false};
    bool due{false};    // its packet waits for the port
    bool ready{false};  // starting it again will make progress
    bool watch{false};  // a readiness wait, without memory
    bool peek{false};
    OperationKind kind{OperationKind::receive};
    SlotId operation;
    std::uint64_t begin{0};  // a locked send covers the stream from `begin` to `end`
    std::uint64_t end{0};
    std::int64_t result{0};
    std::int64_t price{0};     // bytes taken from the non-paged pool
    std::uint32_t pages{0};    // locked by a receive
    Vector<ConstBytes> parts;  // the memory of a locked receive
};

// The part of an endpoint that only a listener has.
struct Listening {
    std::size_t backlog{0};
    std::size_t embryos{0};  // connections whose handshake is not over
    Deque<SlotId> ready;
};

enum class Stage : std::uint8_t {
    idle,
    listening,
    connecting,  // a SYN was sent
    embryo,      // a SYN came and was answered
    connected,
    over,  // reset, timed out, refused, or closed
};

// The id of no endpoint. The default SlotId{} cannot stand for none, because it is the id of the
// first endpoint.
inline constexpr SlotId no_endpoint{~std::uint32_t{0}, 0};

// The handle of the first modelled socket. No system has a descriptor this high, so a system call
// that gets such a handle refuses it.
inline constexpr Handle first_handle = Handle{1} << 30U;
constexpr Handle handle_of(std::uint32_t slot) noexcept {
    return first_handle + static_cast<Handle>(slot);
}

struct EndpointTimer {
    std::int64_t due{-1};     // -1: not armed
    std::int64_t queued{-1};  // when the event that checks the timer comes
};

// One socket of the model.
struct Endpoint {
    [[nodiscard]] Handle handle() const noexcept { return handle_of(id.slot); }

    SlotId id;
    Machine* machine{nullptr};
    Stage stage{Stage::idle};
    bool in_use{false};
    bool owned{false};            // its handle is open
    bool attached{false};         // a port has it
    bool was_connected{false};    // so it can never connect again
    bool unaccepted{false};       // belongs to a listener, which has not accepted it yet
    bool bound{false};            // `bound_name` is in the table of names
    bool reusable{false};         // SO_REUSEADDR
    bool resets_on_close{false};  // its close is a reset
    bool nagle{true};
    bool answered{false};            // has sent data since it first received some
    bool stalled{false};             // its reader has stopped
    bool vanished{false};            // nothing reaches it or leaves it
    bool send_buffer_set{false};     // SO_SNDBUF was set
    bool receive_buffer_set{false};  // SO_RCVBUF was set
    bool read_shut{false};
    bool changed{false};  // in the list of endpoints to serve
    int error{0};         // the error that ended it
    Name bound_name;
    Name local;
    Name remote;
    SlotId peer{no_endpoint};
    SlotId listener{no_endpoint};
    std::unique_ptr<Listening> listening;
    std::uint64_t send_buffer{0};
    std::uint64_t receive_buffer{0};
    std::uint64_t receive_window{0};
    std::uint64_t read_this_round_trip{0};     // since `read_since`
    std::uint64_t max_read_per_round_trip{0};  // of the round trips that are over; 0: none is
    std::int64_t read_since{0};
    Outgoing out;
    Incoming in;
    Request sending;
    Request receiving;
    std::array<EndpointTimer, timer_kinds> timers;
    std::int64_t last_flush{-1};
    std::int64_t retransmit_timeout{0};
    std::int64_t round_trip{0};  // smoothed; 0: not measured
    std::int64_t round_trip_variation{0};
    std::uint64_t timed_position{Incoming::none};  // the position whose acknowledgement is timed
    std::int64_t timed_since{0};
    std::uint32_t retries{0};
    std::uint32_t duplicate_acks{0};  // acknowledgements in a row that bring nothing new

    void recycle() noexcept {
        const SlotId name = id;
        *this = Endpoint{};
        id = name;
    }
};

}  // namespace iocp::sim
