#include "bindings/port_figures.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "bindings/run_port.hpp"

namespace iocp::py {

namespace pb = pybind11;

namespace {

constexpr std::array life_names{"free", "open", "draining", "cancelling", "closed"};
static_assert(life_names.size() == lives);
constexpr std::array strategy_names{"pooled", "direct", "zero_byte", "datagrams"};
static_assert(strategy_names.size() == receive_strategies);
constexpr std::array send_names{"buffered", "when_writable", "direct"};
static_assert(send_names.size() == send_strategies);
constexpr std::array phase_names{"posted",   "queued",  "pending",   "cancelled", "charged",
                                 "refunded", "yielded", "completed", "dispatched"};
static_assert(phase_names.size() == stages);
constexpr std::array fault_names{"",           "system",    "resource",      "budget",
                                 "cancelled",  "timed_out", "socket_closed", "port_closed",
                                 "truncated",  "argument",  "wrong_thread",  "forked",
                                 "nothing_due"};
static_assert(fault_names.size() == faults);
constexpr std::array<std::pair<State, const char*>, 3> unfinished{
    {{State::queued, "queued"}, {State::pending, "pending"}, {State::cancelling, "cancelling"}}};

// The fields of TraceEvent in the language of Python's module struct.
constexpr const char* event_format = "=qQQQIIiiBBBBI";
static_assert(offsetof(TraceEvent, bytes) == 24 && offsetof(TraceEvent, handle) == 40 &&
              offsetof(TraceEvent, stage) == 48 && offsetof(TraceEvent, unused) == 52);

template <class Enum, std::size_t N>
const char* name_of(const std::array<const char*, N>& names, Enum value) {
    return names.at(static_cast<std::size_t>(value));
}

template <std::size_t N>
pb::tuple tuple_of(const std::array<const char*, N>& names) {
    pb::tuple result(N);
    for (std::size_t i = 0; i < N; ++i) {
        result[i] = names[i];
    }
    return result;
}

pb::dict shown(const LedgerView& view) {
    pb::dict result;
    result["now"] = view.now;
    result["peak"] = view.peak;
    result["budget"] = view.budget;
    result["internal"] = view.internal;
    result["kernel_locked"] = view.kernel_locked;
    result["registered"] = view.registered;
    result["by_kind"] = pb::dict(pb::arg("receive") = view.receive, pb::arg("send") = view.send);
    result["by_state"] =
        pb::dict(pb::arg("queued") = view.queued, pb::arg("pending") = view.pending,
                 pb::arg("cancelling") = view.cancelling);
    return result;
}

pb::dict shown(const Histogram& histogram) {
    pb::list buckets;
    for (std::size_t i = 0; i < Histogram::buckets; ++i) {
        if (histogram.in(i) != 0) {
            const std::int64_t bound = Histogram::bound(i);
            buckets.append(pb::make_tuple(bound == Histogram::unbounded
                                              ? pb::object(pb::none())
                                              : pb::object(pb::int_(bound)),
                                          histogram.in(i)));
        }
    }
    pb::dict result;
    result["count"] = histogram.count();
    result["sum"] = histogram.sum();
    result["max"] = histogram.max();
    result["buckets"] = pb::tuple(buckets);
    return result;
}

pb::dict shown(const SocketFigures& socket) {
    pb::dict result;
    result["id"] = socket.id.packed();
    result["fileno"] = socket.handle;
    result["family"] = socket.family;
    result["type"] = socket.type;
    result["state"] = name_of(life_names, socket.life);
    result["charged"] = socket.charged;
    result["queued_bytes"] = socket.queued_bytes;
    result["outstanding"] = socket.outstanding;
    result["receives"] = socket.receives;
    result["sends"] = socket.sends;
    const bool receives = socket.subscription == Kind::receive_each;
    result["accepts"] = socket.subscription == Kind::accept_each;
    result["receiving_by"] = receives
                                 ? pb::object(pb::str(name_of(strategy_names, socket.strategy)))
                                 : pb::object(pb::none());
    result["adaptive"] = socket.adaptive;
    result["send_strategy"] = name_of(send_names, socket.sending);
    result["send_paused"] = socket.send_paused;
    return result;
}

void show_pool(const BufferPool::Occupancy& pool, pb::dict& result) {
    result["blocks"] = pool.blocks;
    result["blocks_out"] = pool.blocks_out;
    result["block_bytes"] = pool.bytes;
    result["block_bytes_out"] = pool.bytes_out;
    result["regions_out"] = pool.regions_out;
}

void show_operations(const Figures& figures, pb::dict& result) {
    pb::dict by_state;
    for (const auto& [state, name] : unfinished) {
        by_state[name] = figures.tally.operations(state);
    }
    pb::dict by_kind;
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        by_kind[kind_name(static_cast<Kind>(kind))] =
            figures.tally.operations(static_cast<Kind>(kind));
    }
    result["operations_by_state"] = by_state;
    result["operations_by_kind"] = by_kind;
    result["outstanding"] = figures.outstanding;
    result["budget_queue"] = figures.budget_queue;
    result["lane_queue"] = figures.tally.operations(State::queued) - figures.budget_queue;
    result["send_queue_bytes"] = figures.send_queue_bytes;
    result["ready"] = figures.ready;
}

void refuse(PortObject& port, const char* text) {
    raise(*port.types, ErrorClass::argument, EINVAL, text);
    throw_set();
}

}  // namespace

pb::dict ledger_of(PortObject& port) {
    require_not_forked(port);
    return shown(locked(port, [&] { return port.core->ledger_view(); }));
}

pb::dict figures_of(PortObject& port, std::size_t most_sockets) {
    require_not_forked(port);
    Figures figures;
    if (const Error error =
            locked(port, [&] { return port.core->figures(most_sockets, figures); })) {
        raise(&port, *port.types, error);
        throw_set();
    }
    keep_heaviest(figures.by_socket, most_sockets);
    pb::dict result;
    result["ledger"] = shown(figures.ledger);
    show_operations(figures, result);
    result["slots"] = figures.slots;
    result["slots_free"] = figures.slots_free;
    result["sockets"] = figures.sockets;
    show_pool(figures.pool, result);
    figures.counts.each(
        [&](const char* name, std::uint64_t value) { result[name] = pb::int_(value); });
    pb::object latency = pb::none();
    if (figures.latencies != nullptr) {
        latency = pb::dict();
        for (std::size_t kind = 0; kind < kinds; ++kind) {
            if (const Histogram& histogram = (*figures.latencies)[kind]; histogram.count() != 0) {
                latency[kind_name(static_cast<Kind>(kind))] = shown(histogram);
            }
        }
    }
    result["latency"] = latency;
    pb::list by_socket;
    for (const SocketFigures& socket : figures.by_socket) {
        by_socket.append(shown(socket));
    }
    result["by_socket"] = by_socket;
    return result;
}

void start_trace(PortObject& port, std::size_t events) {
    require_usable(port);
    auto trace = std::make_unique<Trace>(events);
    const bool started = locked(port, [&] {
        if (port.core->tracing()) {
            return false;
        }
        (void)port.core->exchange_trace(std::move(trace));
        return true;
    });
    if (!started) {
        refuse(port, "a trace of this port runs already; stop_trace() ends it");
    }
}

pb::dict stop_trace(PortObject& port) {
    require_not_forked(port);
    const std::unique_ptr<Trace> trace =
        locked(port, [&] { return port.core->exchange_trace(nullptr); });
    if (trace == nullptr) {
        refuse(port, "no trace of this port runs; trace() starts one");
    }
    pb::list runs;
    trace->each_run([&](const TraceEvent* first, std::size_t count) {
        runs.append(pb::bytes(reinterpret_cast<const char*>(first), count * sizeof(TraceEvent)));
    });
    std::array<const char*, kinds> kind_names{};
    pb::list sending;
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        Operation probe;
        probe.kind = static_cast<Kind>(kind);
        kind_names[kind] = kind_name(probe.kind);
        if (probe.sending()) {
            sending.append(kind_names[kind]);
        }
    }
    pb::dict result;
    result["runs"] = runs;
    result["dropped"] = trace->dropped();
    result["format"] = event_format;
    result["phases"] = tuple_of(phase_names);
    result["kinds"] = tuple_of(kind_names);
    result["faults"] = tuple_of(fault_names);
    result["sending"] = sending;
    return result;
}

}  // namespace iocp::py
