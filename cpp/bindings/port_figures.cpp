#include "bindings/port_figures.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <tuple>
#include <utility>

#include "bindings/checked.hpp"
#include "bindings/errors.hpp"
#include "bindings/operation_object.hpp"
#include "bindings/port_object.hpp"
#include "bindings/run_port.hpp"
#include "bindings/types.hpp"

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

// The fields of TraceEvent in the format of Python's struct module.
constexpr const char* event_format = "=qQQQIIiiBBBBI";
static_assert(offsetof(TraceEvent, bytes) == 24 && offsetof(TraceEvent, handle) == 40 &&
              offsetof(TraceEvent, stage) == 48 && offsetof(TraceEvent, unused) == 52);

template <class Enum, std::size_t N>
const char* name_of(const std::array<const char*, N>& names, Enum value) {
    return names.at(static_cast<std::size_t>(value));
}

template <std::size_t N>
pb::object names_of(const std::array<const char*, N>& names) {
    return std::apply([](auto... each) { return tuple_of(each...); }, names);
}

Dict shown(const LedgerView& view) {
    Dict result;
    result.set("now", view.now);
    result.set("peak", view.peak);
    result.set("budget", view.budget);
    result.set("internal", view.internal);
    result.set("kernel_locked", view.kernel_locked);
    result.set("registered", view.registered);
    Dict by_kind;
    by_kind.set("receive", view.receive);
    by_kind.set("send", view.send);
    result.set("by_kind", by_kind);
    Dict by_state;
    by_state.set("queued", view.queued);
    by_state.set("pending", view.pending);
    by_state.set("cancelling", view.cancelling);
    result.set("by_state", by_state);
    return result;
}

Dict shown(const Histogram& histogram) {
    List buckets;
    for (std::size_t i = 0; i < Histogram::buckets; ++i) {
        if (histogram.in(i) != 0) {
            const std::int64_t bound = Histogram::bound(i);
            const pb::object limit = bound == Histogram::unbounded ? pb::none() : to_object(bound);
            buckets.append(tuple_of(limit, histogram.in(i)));
        }
    }
    Dict result;
    result.set("count", histogram.count());
    result.set("sum", histogram.sum());
    result.set("max", histogram.max());
    result.set("buckets", checked(PyList_AsTuple(buckets.object().ptr())));
    return result;
}

Dict shown(const SocketFigures& socket) {
    Dict result;
    result.set("id", socket.id.packed());
    result.set("fileno", socket.handle);
    result.set("family", socket.family);
    result.set("type", socket.type);
    result.set("state", name_of(life_names, socket.state));
    result.set("charged", socket.charged);
    result.set("queued_bytes", socket.queued_bytes);
    result.set("outstanding", socket.outstanding);
    result.set("receives", socket.receives);
    result.set("sends", socket.sends);
    const bool receives = socket.subscription == OperationKind::receive_each;
    result.set("accepts", socket.subscription == OperationKind::accept_each);
    result.set("receiving_by",
               receives ? to_object(name_of(strategy_names, socket.strategy)) : pb::none());
    result.set("adaptive", socket.adaptive);
    result.set("send_strategy", name_of(send_names, socket.sending));
    result.set("send_paused", socket.send_paused);
    return result;
}

void show_pool(const BufferPool::Occupancy& pool, Dict& result) {
    result.set("blocks", pool.blocks);
    result.set("blocks_out", pool.blocks_out);
    result.set("block_bytes", pool.bytes);
    result.set("block_bytes_out", pool.bytes_out);
    result.set("regions_out", pool.regions_out);
}

void show_operations(const Figures& figures, Dict& result) {
    Dict by_state;
    for (const auto& [state, name] : unfinished) {
        by_state.set(name, figures.tally.operations(state));
    }
    Dict by_kind;
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        by_kind.set(kind_name(static_cast<OperationKind>(kind)),
                    figures.tally.operations(static_cast<OperationKind>(kind)));
    }
    result.set("operations_by_state", by_state);
    result.set("operations_by_kind", by_kind);
    result.set("outstanding", figures.outstanding);
    result.set("budget_queue", figures.budget_queue);
    result.set("lane_queue", figures.tally.operations(State::queued) - figures.budget_queue);
    result.set("send_queue_bytes", figures.send_queue_bytes);
    result.set("ready", figures.ready);
}

void refuse(PortObject& port, const char* text) {
    raise(*port.types, ErrorClass::argument, EINVAL, text);
    throw_set();
}

}  // namespace

pb::object ledger_of(PortObject& port) {
    require_not_forked(port);
    return shown(locked(port, [&] { return port.core->figures().ledger(); })).object();
}

pb::object figures_of(PortObject& port, std::size_t max_sockets) {
    require_not_forked(port);
    Figures figures;
    if (const Error error =
            locked(port, [&] { return port.core->figures().take(max_sockets, figures); })) {
        raise(&port, *port.types, error);
        throw_set();
    }
    keep_heaviest(figures.by_socket, max_sockets);
    Dict result;
    result.set("ledger", shown(figures.ledger));
    show_operations(figures, result);
    result.set("slots", figures.slots);
    result.set("slots_free", figures.slots_free);
    result.set("sockets", figures.sockets);
    show_pool(figures.pool, result);
    figures.counts.each([&](const char* name, std::uint64_t value) { result.set(name, value); });
    pb::object latency = pb::none();
    if (figures.latencies != nullptr) {
        Dict by_kind;
        for (std::size_t kind = 0; kind < kinds; ++kind) {
            if (const Histogram& histogram = (*figures.latencies)[kind]; histogram.count() != 0) {
                by_kind.set(kind_name(static_cast<OperationKind>(kind)), shown(histogram));
            }
        }
        latency = by_kind.object();
    }
    result.set("latency", latency);
    List by_socket;
    for (const SocketFigures& socket : figures.by_socket) {
        by_socket.append(shown(socket));
    }
    result.set("by_socket", by_socket);
    return result.object();
}

void start_trace(PortObject& port, std::size_t events) {
    require_usable(port);
    auto trace = std::make_unique<Trace>(events);
    const bool started = locked(port, [&] {
        if (port.core->figures().tracing()) {
            return false;
        }
        (void)port.core->figures().exchange_trace(std::move(trace));
        return true;
    });
    if (!started) {
        refuse(port, "a trace of this port runs already; end it with Trace.stop() first");
    }
}

pb::object stop_trace(PortObject& port) {
    require_not_forked(port);
    const std::unique_ptr<Trace> trace =
        locked(port, [&] { return port.core->figures().exchange_trace(nullptr); });
    if (trace == nullptr) {
        refuse(port, "no trace of this port runs; start one with trace()");
    }
    List runs;
    trace->each_run([&](const TraceEvent* first, std::size_t count) {
        runs.append(checked(
            PyBytes_FromStringAndSize(reinterpret_cast<const char*>(first),
                                      static_cast<Py_ssize_t>(count * sizeof(TraceEvent)))));
    });
    std::array<const char*, kinds> kind_names{};
    List sending;
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        Operation probe;
        probe.kind = static_cast<OperationKind>(kind);
        kind_names[kind] = kind_name(probe.kind);
        if (probe.sending()) {
            sending.append(kind_names[kind]);
        }
    }
    Dict result;
    result.set("runs", runs);
    result.set("dropped", trace->dropped());
    result.set("format", event_format);
    result.set("phases", names_of(phase_names));
    result.set("kinds", names_of(kind_names));
    result.set("faults", names_of(fault_names));
    result.set("sending", sending);
    return result.object();
}

}  // namespace iocp::py
