#include "core/metrics.hpp"

namespace iocp {

std::unique_ptr<Trace> Metrics::exchange_trace(std::unique_ptr<Trace> trace) noexcept {
    trace_.swap(trace);
    observed_.store(trace_ != nullptr || latencies_ != nullptr, std::memory_order_relaxed);
    return trace;
}

void Metrics::record(const Operation& op, Stage stage, std::uint64_t bytes) noexcept {
    if (clock_ == nullptr) {
        return;
    }
    TraceEvent event{};
    event.time = clock_->now();
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

}  // namespace iocp
