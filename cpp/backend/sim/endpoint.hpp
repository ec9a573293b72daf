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
#include "core/operation.hpp"
#include "core/socket.hpp"

namespace iocp::sim {

struct Endpoint;

// What one port runs on: its memory, its network card, and the packets that wait for it.
struct Machine {
    struct Due {
        SlotId endpoint;
        bool sending;
    };
    System system;
    std::uint32_t address{0};   // where its sockets connect from
    std::int64_t card_free{0};  // when the card has sent what it was given
    Vector<Due> due;
    bool woken{false};
};

// What a port has asked for and not got yet, at most one for each direction of an endpoint.
struct Request {
    bool active{false};
    bool due{false};    // its packet waits for the port
    bool ready{false};  // starting it again will do something
    bool watch{false};  // holds no memory: to be told is all it wants
    bool peek{false};
    Kind kind{Kind::receive};
    SlotId operation;
    std::uint64_t begin{0};  // of a locked send
    std::uint64_t end{0};
    std::int64_t result{0};
    std::int64_t price{0};     // taken from the pool
    std::uint32_t pages{0};    // locked by a receive
    Vector<ConstBytes> parts;  // where a locked receive goes
};

// What only a listener has.
struct Listening {
    std::size_t backlog{0};
    std::size_t embryos{0};  // connections whose handshake is not over
    Deque<SlotId> ready;
};

enum class Stage : std::uint8_t {
    idle,
    listening,
    connecting,  // a SYN is out
    embryo,      // a SYN came, the answer is out
    connected,
    over,  // reset, timed out, or refused
};

// The name of no endpoint: {} is that of the first.
inline constexpr SlotId nobody{~std::uint32_t{0}, 0};

// No system has a descriptor this high: a call of the system that is given a handle refuses it.
inline constexpr Handle first_handle = Handle{1} << 30U;
constexpr Handle handle_of(std::uint32_t slot) noexcept {
    return first_handle + static_cast<Handle>(slot);
}

struct EndpointTimer {
    std::int64_t due{-1};     // -1: not armed
    std::int64_t queued{-1};  // when the event that looks at it comes
};

// One socket of the model.
struct Endpoint {
    [[nodiscard]] Handle handle() const noexcept { return handle_of(id.slot); }

    SlotId id;
    Machine* machine{nullptr};
    Stage stage{Stage::idle};
    bool in_use{false};
    bool owned{false};          // its handle is not closed
    bool held{false};           // and some port has it
    bool was_connected{false};  // so no connect of it can ever be made again
    bool awaited{false};        // some listener has it: an embryo, or not accepted yet
    bool bound{false};          // `bound_name` is in the table of names
    bool reusable{false};       // SO_REUSEADDR
    bool resets{false};         // its close is a reset
    bool nagle{true};
    bool answered{false};      // has sent after it received: acknowledgements may ride along
    bool stalled{false};       // nobody reads it any more
    bool vanished{false};      // nothing reaches it, nothing comes from it
    bool sized{false};         // SO_SNDBUF was set
    bool window_sized{false};  // SO_RCVBUF was
    bool read_shut{false};
    bool changed{false};  // in the list of those to be looked after
    int error{0};         // what ended it
    Name bound_name;
    Name local;
    Name remote;
    SlotId peer{nobody};
    SlotId listener{nobody};
    std::unique_ptr<Listening> listening;
    std::uint64_t send_buffer{0};
    std::uint64_t receive_buffer{0};
    std::uint64_t receive_window{0};
    std::uint64_t read_lately{0};   // since `read_since`, at most a round trip ago
    std::uint64_t read_at_most{0};  // in a round trip before; 0: none is over
    std::int64_t read_since{0};
    Outgoing out;
    Incoming in;
    Request sending;
    Request receiving;
    std::array<EndpointTimer, timer_kinds> timers;
    std::int64_t last_flush{-1};
    std::int64_t timeout{0};     // of a retransmission
    std::int64_t round_trip{0};  // smoothed; 0: not measured
    std::int64_t variation{0};
    std::uint64_t timed{Incoming::none};  // the position whose acknowledgement is timed
    std::int64_t timed_since{0};
    std::uint32_t retries{0};
    std::uint32_t duplicates{0};  // acknowledgements in a row that tell nothing new

    void recycle() noexcept {
        const SlotId name = id;
        *this = Endpoint{};
        id = name;
    }
};

}  // namespace iocp::sim
