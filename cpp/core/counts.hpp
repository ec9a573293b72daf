#pragma once

#include <cstdint>

namespace iocp {

// The counters of a port since it was made. Each line defines one counter, whose name is also the
// name of the figure in statistics and metrics.
#define IOCP_PORT_COUNTS(count)                                                     \
    count(waits)            /* turns that asked the kernel for events */            \
        count(packets)      /* events the kernel reported */                        \
        count(late)         /* events of finished operations, which are dropped */  \
        count(flushes)      /* requests that carried sends */                       \
        count(sends)        /* sends in these requests (flushes) */                 \
        count(drains)       /* times that a socket was drained */                   \
        count(refusals)     /* refusals by the budget, a cap or the system */       \
        count(degraded)     /* operations that wait without lending their memory */ \
        count(switches)     /* changes of an adaptive strategy */                   \
        count(pauses)       /* times that a sender was asked to pause */            \
        count(evictions)    /* connections closed for making no progress */         \
        count(nagle_stalls) /* sockets whose sends waited for delayed acknowledgements */

struct PortCounts {
#define IOCP_DECLARE_COUNT(name) std::uint64_t name{0};
    IOCP_PORT_COUNTS(IOCP_DECLARE_COUNT)
#undef IOCP_DECLARE_COUNT

    // Calls visit(name, value) for every counter.
    template <class Visit>
    void each(Visit&& visit) const {
#define IOCP_VISIT_COUNT(name) visit(#name, name);
        IOCP_PORT_COUNTS(IOCP_VISIT_COUNT)
#undef IOCP_VISIT_COUNT
    }
};

}  // namespace iocp
