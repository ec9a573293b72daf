// Port: what can be seen of it (R09).
#include "core/figures.hpp"

#include <algorithm>
#include <new>
#include <tuple>

#include "core/port.hpp"

namespace iocp {

namespace {

std::uint32_t count(const Lane& lane) noexcept {
    std::uint32_t operations = 0;
    for (const Operation* op = lane.head; op != nullptr; op = op->next) {
        ++operations;
    }
    return operations;
}

bool heavier(const SocketFigures& a, const SocketFigures& b) noexcept {
    return std::tie(a.charged, a.queued_bytes, a.outstanding, b.id.slot) >
           std::tie(b.charged, b.queued_bytes, b.outstanding, a.id.slot);
}

}  // namespace

std::size_t Port::queued_bytes(const Socket& socket) const noexcept {
    return static_cast<std::size_t>(socket.sending.bytes);
}

LedgerView Port::ledger_view() {
    LedgerView view;
    const std::uint64_t page = ledger_.page_size();
    view.now = ledger_.now_pages() * page;
    view.peak = ledger_.peak_pages() * page;
    view.budget = ledger_.budget_bytes();
    view.registered = ledger_.registered_bytes();
    view.receive = ledger_.pages_of(ChargeKind::receive) * page;
    view.send = ledger_.pages_of(ChargeKind::send) * page;
    view.queued = tally_.pages(State::queued) * page;
    view.pending = tally_.pages(State::pending) * page;
    view.cancelling = tally_.pages(State::cancelling) * page;
    if (backend_ == nullptr) {
        return view;
    }
    view.internal = backend_->internal_bytes();
    if (backend_->locks_memory()) {
        operations_.each([&](Operation& op) {
            const State state = op.state.load(std::memory_order_relaxed);
            if (state != State::idle && state != State::completed) {
                view.kernel_locked += backend_->kernel_locked(op) * page;
            }
        });
    }
    return view;
}

SocketFigures Port::figures_of(const Socket& socket) const noexcept {
    SocketFigures figures;
    figures.id = socket.id;
    figures.handle = socket.handle;
    figures.family = socket.family;
    figures.type = socket.type;
    figures.life = socket.life;
    figures.charged = std::uint64_t{socket.charged_pages} * ledger_.page_size();
    figures.queued_bytes = queued_bytes(socket);
    figures.outstanding = socket.outstanding;
    figures.receives = count(socket.receiving);
    figures.sends = count(socket.sending);
    figures.sending = socket.send_strategy;
    figures.send_paused = socket.send_paused;
    const Operation* last = socket.receiving.tail;
    if (last != nullptr && last->subscription()) {
        figures.subscription = last->kind;
        figures.strategy = last->strategy;
        figures.adaptive = last->adaptive;
    }
    return figures;
}

Error Port::figures(std::size_t most_sockets, Figures& out) {
    try {
        if (latencies_ != nullptr) {
            out.latencies = std::make_unique<Latencies::ByKind>(latencies_->by_kind());
        }
        if (most_sockets != 0) {
            sockets_.each([&](Socket& socket) {
                if (socket.life != Life::free && socket.life != Life::closed) {
                    out.by_socket.push_back(figures_of(socket));
                }
            });
        }
    } catch (const std::bad_alloc&) {
        return Error::of(Fault::resource, "no memory for the figures");
    }
    out.ledger = ledger_view();
    out.counts = counts_;
    out.tally = tally_;
    out.pool = pool_.occupancy();
    out.slots = operations_.capacity();
    out.slots_free = operations_.free();
    out.sockets = open_sockets_;
    out.outstanding = outstanding_;
    out.budget_queue = budget_queue_;
    out.send_queue_bytes = send_queue_bytes_;
    out.ready = ready_.size();
    return {};
}

void keep_heaviest(std::vector<SocketFigures>& sockets, std::size_t most) {
    const std::size_t kept = std::min(most, sockets.size());
    std::partial_sort(sockets.begin(), sockets.begin() + static_cast<std::ptrdiff_t>(kept),
                      sockets.end(), heavier);
    sockets.resize(kept);
}

std::unique_ptr<Trace> Port::exchange_trace(std::unique_ptr<Trace> trace) noexcept {
    trace_.swap(trace);
    observed_.store(trace_ != nullptr || latencies_ != nullptr, std::memory_order_relaxed);
    return trace;
}

void Port::record(const Operation& op, Stage stage, std::uint64_t bytes) noexcept {
    TraceEvent event{};
    event.time = backend_->now();
    event.operation = op.id.packed();
    event.socket = op.socket->id.packed();
    event.bytes = bytes;
    event.charged = op.receipt.pages();
    event.ledger = static_cast<std::uint32_t>(ledger_.now_pages());
    event.handle = static_cast<std::int32_t>(op.socket->handle);
    event.code = op.ended ? op.error.code : 0;
    event.stage = stage;
    event.kind = op.kind;
    event.fault = op.ended ? op.error.fault : Fault::none;
    event.outcome = op.outcome;
    trace_->add(event);
}

void Port::handed_out(const Operation& op) noexcept {
    if (latencies_ != nullptr) {
        latencies_->handed_out(op, backend_->now());
    }
    note(op, Stage::dispatched);
}

}  // namespace iocp
