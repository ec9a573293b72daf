#pragma once

#include "base/process.hpp"
#include "core/accepting.hpp"
#include "core/admission.hpp"
#include "core/cancels.hpp"
#include "core/completion_queue.hpp"
#include "core/datagram.hpp"
#include "core/endings.hpp"
#include "core/io_queue.hpp"
#include "core/posting.hpp"
#include "core/registered_memory.hpp"
#include "core/send_flow.hpp"
#include "core/socket_lifecycle.hpp"
#include "core/sockets.hpp"
#include "core/standing.hpp"
#include "core/subscriptions.hpp"

namespace iocp {

// The parts of a port. Each part uses only parts that are declared before it. For work of other
// parts it leaves effects (effects.hpp), which Turn applies.
struct Parts {
    Parts(const PortOptions& options, const Capabilities& capabilities, BufferPool& pool,
          Backend& backend)
        : ledger(system_page_size(), options.budget_bytes),
          work(socket_table),
          calls(backend, work),
          metrics(backend, ledger, options.latency),
          timers(backend),
          completions(metrics, work),
          registered(backend, calls, ledger),
          admission(options, ledger, registered, backend, calls, timers, metrics, work, operations),
          sockets(options, backend, calls, timers, admission, socket_table),
          flow(backend, completions, metrics, work, socket_table),
          endings(calls, admission, flow, completions, timers, metrics, work, operations),
          cancels(calls, flow, completions, metrics, work, endings, operations),
          queue(backend, calls, sockets, admission, flow, timers, metrics, work, endings, cancels,
                operations),
          posting(backend, calls, sockets, admission, flow, completions, timers, endings, queue,
                  work, datagram::max_size(pool)),
          standing(backend, calls, endings, completions, timers, work, socket_table),
          accepting(options, backend, sockets, cancels, standing, completions, operations),
          subscriptions(options, capabilities, backend, calls, pool, admission, cancels, standing,
                        completions, timers, metrics, work, operations),
          lifecycle(options, backend, calls, sockets, cancels, accepting, completions, timers,
                    metrics, work) {}

    SlotTable<Operation> operations;
    SlotTable<Socket> socket_table;
    Ledger ledger;
    Worklist work;
    Calls calls;
    Metrics metrics;
    Timers timers;
    CompletionQueue completions;
    RegisteredMemory registered;
    Admission admission;
    Sockets sockets;
    SendFlow flow;
    Endings endings;
    Cancels cancels;
    IoQueue queue;
    Posting posting;
    Standing standing;
    Accepting accepting;
    Subscriptions subscriptions;
    SocketLifecycle lifecycle;
};

}  // namespace iocp
