#include "core/port_figures.hpp"

#include <new>

namespace iocp {

namespace {

std::uint32_t count(const Lane& lane) noexcept {
    std::uint32_t operations = 0;
    for (const Operation* op = lane.head; op != nullptr; op = op->next) {
        ++operations;
    }
    return operations;
}

}  // namespace

LedgerView PortFigures::ledger() {
    LedgerView view;
    const Ledger& ledger = parts_.ledger;
    const Tally& tally = parts_.metrics.tally();
    const std::uint64_t page = ledger.page_size();
    view.now = ledger.now_pages() * page;
    view.peak = ledger.peak_pages() * page;
    view.budget = ledger.budget_bytes();
    view.registered = ledger.registered_bytes();
    view.receive = ledger.pages_of(ChargeKind::receive) * page;
    view.send = ledger.pages_of(ChargeKind::send) * page;
    view.queued = tally.pages(State::queued) * page;
    view.pending = tally.pages(State::pending) * page;
    view.cancelling = tally.pages(State::cancelling) * page;
    if (backend_ == nullptr) {
        return view;
    }
    view.internal = backend_->internal_bytes();
    if (backend_->locks_memory()) {
        parts_.operations.each([&](Operation& op) {
            const State state = op.state.load(std::memory_order_relaxed);
            if (state != State::idle && state != State::completed) {
                view.kernel_locked += backend_->kernel_locked(op) * page;
            }
        });
    }
    return view;
}

SocketFigures PortFigures::figures_of(const Socket& socket) const noexcept {
    SocketFigures figures;
    figures.id = socket.id;
    figures.handle = socket.handle;
    figures.family = socket.family;
    figures.type = socket.type;
    figures.state = socket.state;
    figures.charged = std::uint64_t{socket.charged_pages} * parts_.ledger.page_size();
    figures.queued_bytes = socket.sending.bytes;
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

Error PortFigures::take(std::size_t max_sockets, Figures& out) {
    try {
        if (parts_.metrics.latencies() != nullptr) {
            out.latencies =
                std::make_unique<Latencies::ByKind>(parts_.metrics.latencies()->by_kind());
        }
        if (max_sockets != 0) {
            parts_.socket_table.each([&](Socket& socket) {
                if (socket.state != SocketState::free && socket.state != SocketState::closed) {
                    out.by_socket.push_back(figures_of(socket));
                }
            });
        }
    } catch (const std::bad_alloc&) {
        return Error::of(Fault::resource, "no memory for the figures");
    }
    out.ledger = ledger();
    out.counts = counts();
    out.tally = parts_.metrics.tally();
    out.pool = pool_.occupancy();
    out.slots = parts_.operations.capacity();
    out.slots_free = parts_.operations.free();
    out.sockets = parts_.sockets.open();
    out.outstanding = parts_.queue.outstanding();
    out.budget_queue = parts_.admission.held();
    out.send_queue_bytes = parts_.flow.bytes_to_send();
    out.ready = parts_.completions.size();
    return {};
}

}  // namespace iocp
