"""Ports as Prometheus metrics: ``pip install 'iocp-sock[prometheus]'``.

    from prometheus_client import REGISTRY, start_http_server
    REGISTRY.register(PortCollector(port))
    start_http_server(9100)

Each scrape reads the figures of each port once, under one acquisition of its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from iocp_sock.port import Port
from iocp_sock.stats import Histogram, Stats

try:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "the Prometheus exporter needs prometheus-client: pip install 'iocp-sock[prometheus]'"
    ) from error

__all__ = ["PortCollector"]

_GAUGES: dict[str, tuple[str, Callable[[Stats], int]]] = {
    "ledger_bytes": (
        "Bytes of whole pages charged to unfinished operations.",
        lambda stats: stats.ledger.now,
    ),
    "ledger_peak_bytes": (
        "The maximum of ledger_bytes so far.",
        lambda stats: stats.ledger.peak,
    ),
    "ledger_budget_bytes": (
        "The maximum charge of the port; 0: no limit.",
        lambda stats: stats.ledger.budget,
    ),
    "ledger_kernel_locked_bytes": (
        "The memory that this system really locks for operations.",
        lambda stats: stats.ledger.kernel_locked,
    ),
    "ledger_registered_bytes": (
        "Memory registered with the kernel.",
        lambda stats: stats.ledger.registered,
    ),
    "ledger_internal_bytes": (
        "Control storage of the core that the system locks.",
        lambda stats: stats.ledger.internal,
    ),
    "outstanding_operations": (
        "Accepted operations whose completion was not handed out yet.",
        lambda stats: stats.outstanding,
    ),
    "budget_queue_operations": (
        "Operations that the budget or a cap holds back.",
        lambda stats: stats.budget_queue,
    ),
    "lane_queue_operations": (
        "Operations queued behind others of their direction, or for the next flush.",
        lambda stats: stats.lane_queue,
    ),
    "send_queue_bytes": (
        "Bytes of unfinished sends that are still to be sent.",
        lambda stats: stats.send_queue_bytes,
    ),
    "ready_results": (
        "Results that wait to be handed out.",
        lambda stats: stats.ready,
    ),
    "sockets": ("Open sockets.", lambda stats: stats.sockets),
    "operation_slots": ("Slots for operations.", lambda stats: stats.slots),
    "operation_slots_free": ("Slots without an operation.", lambda stats: stats.slots_free),
    "pool_blocks": ("Blocks of the buffer pool.", lambda stats: stats.blocks),
    "pool_blocks_used": ("Blocks that are in use.", lambda stats: stats.blocks_out),
    "pool_bytes": ("Memory of all blocks.", lambda stats: stats.block_bytes),
    "pool_used_bytes": ("Memory of the blocks in use.", lambda stats: stats.block_bytes_out),
    "pool_regions_used": (
        "Blocks in use that pooled receives share.",
        lambda stats: stats.regions_out,
    ),
}

_SPLIT_GAUGES: dict[str, tuple[str, str, Callable[[Stats], Mapping[str, int]]]] = {
    "ledger_kind_bytes": (
        "kind",
        "Bytes charged, by kind of operation.",
        lambda stats: stats.ledger.by_kind,
    ),
    "ledger_state_bytes": (
        "state",
        "Bytes charged, by state of operation.",
        lambda stats: stats.ledger.by_state,
    ),
    "operations": (
        "state",
        "Unfinished operations, by state.",
        lambda stats: stats.operations_by_state,
    ),
    "kind_operations": (
        "kind",
        "Unfinished operations, by kind.",
        lambda stats: stats.operations_by_kind,
    ),
}

_COUNTERS: dict[str, tuple[str, Callable[[Stats], int]]] = {
    "waits": ("Turns that asked the kernel.", lambda stats: stats.waits),
    "packets": ("Events that the kernel reported.", lambda stats: stats.packets),
    "late_packets": ("Events of operations that had ended already.", lambda stats: stats.late),
    "flushes": ("Requests that carried sends.", lambda stats: stats.flushes),
    "sends": ("Sends that requests carried.", lambda stats: stats.sends),
    "drains": ("Times that a readable socket was drained.", lambda stats: stats.drains),
    "refusals": ("Posts refused by the budget, a cap or the system.", lambda stats: stats.refusals),
    "degraded_receives": (
        "Receives that wait without their buffer.",
        lambda stats: stats.degraded,
    ),
    "strategy_switches": (
        "Changes of adaptive subscriptions' strategies.",
        lambda stats: stats.switches,
    ),
    "send_pauses": ("Times that a sender was asked to pause.", lambda stats: stats.pauses),
    "evictions": (
        "Connections closed because they made no progress.",
        lambda stats: stats.evictions,
    ),
    "nagle_stalls": (
        "Sockets whose sends waited for delayed acknowledgements.",
        lambda stats: stats.nagle_stalls,
    ),
}

_BOUNDS = [1 << power for power in range(10, 37, 2)]
"""Nanoseconds, from 1 µs to 69 s: bounds of the core's buckets, so every count is exact."""


class PortCollector(Collector):
    """Shows the figures of one port, or of several by name, as metrics ``iocp_sock_*``.

    Every metric has the label `port`; the name of a single port is "default". Ports made with
    latency=True also have latencies. A closed port keeps its last figures.
    """

    def __init__(self, ports: Port | Mapping[str, Port]) -> None:
        self._ports = {"default": ports} if isinstance(ports, Port) else dict(ports)

    def describe(self) -> list[Metric]:
        """Return no metrics, because the ports decide which there are."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, from figures taken now."""
        all_stats = {name: port.stats() for name, port in self._ports.items()}
        for name, (text, read) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"iocp_sock_{name}", text, labels=["port"])
            for port, stats in all_stats.items():
                gauge.add_metric([port], read(stats))
            yield gauge
        for name, (label, text, split) in _SPLIT_GAUGES.items():
            gauge = GaugeMetricFamily(f"iocp_sock_{name}", text, labels=["port", label])
            for port, stats in all_stats.items():
                for part, value in split(stats).items():
                    gauge.add_metric([port, part], value)
            yield gauge
        for name, (text, read) in _COUNTERS.items():
            counter = CounterMetricFamily(f"iocp_sock_{name}", text, labels=["port"])
            for port, stats in all_stats.items():
                counter.add_metric([port], read(stats))
            yield counter
        yield _latency(all_stats)


def _latency(all_stats: Mapping[str, Stats]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "iocp_sock_operation_seconds",
        "Time from the post of an operation until its completion was handed out.",
        labels=["port", "kind"],
    )
    for port, stats in all_stats.items():
        for kind, histogram in (stats.latency or {}).items():
            family.add_metric([port, kind], _cumulative(histogram), histogram.sum / 1e9)
    return family


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    for bound in _BOUNDS:
        below = sum(n for upper, n in histogram.buckets if upper is not None and upper <= bound)
        buckets.append((repr(bound / 1e9), below))
    buckets.append(("+Inf", histogram.count))
    return buckets
