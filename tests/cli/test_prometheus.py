"""The metrics of ports, read back with Prometheus' own parser."""

import os
import subprocess
import sys
from typing import Any

import pytest

import iocp_sock
from support import PAGE, finish, run_until
from support.places import customized

prometheus_client = pytest.importorskip(
    "prometheus_client", reason="prometheus-client is not installed"
)
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from iocp_sock.exporters.prometheus import PortCollector  # noqa: E402


def scrape(ports: Any) -> dict[str, Any]:
    """Return the metric families of a scrape, by name, as a Prometheus server reads them."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(PortCollector(ports))
    text = prometheus_client.generate_latest(registry).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Any], sample: str, **labels: str) -> float:
    """Return the value of the only sample with this name and these labels."""
    found = [
        one.value
        for family in families.values()
        for one in family.samples
        if one.name == sample and one.labels == labels
    ]
    assert len(found) == 1, (sample, labels, found)
    return found[0]


def test_gauges_and_counters_are_the_figures(make_port, peers):
    """The metrics of a port equal the figures of its stats()."""
    port = make_port(budget=8 * PAGE, over_budget="queue")
    sock, _peer = peers.pair(port)
    ops = [sock.recv(3 * PAGE), sock.recv(4 * PAGE), sock.recv(2 * PAGE)]
    port.run_once(0)
    stats = port.stats(sockets=1)
    found = scrape(port)
    for name, wanted in {
        "ledger_bytes": stats.ledger.now,
        "ledger_peak_bytes": stats.ledger.peak,
        "ledger_budget_bytes": 8 * PAGE,
        "outstanding_operations": 3,
        "budget_queue_operations": 1,
        "lane_queue_operations": 1,
        "sockets": 1,
        "operation_slots": stats.slots,
        "operation_slots_free": stats.slots - 3,
        "pool_blocks_used": stats.blocks_out,
        "pool_used_bytes": stats.block_bytes_out,
        "waits_total": stats.waits,
        "packets_total": stats.packets,
        "refusals_total": 0,
    }.items():
        assert value(found, f"iocp_sock_{name}", port="default") == wanted, name
    for state, wanted in {"queued": 4 * PAGE, "pending": 3 * PAGE, "cancelling": 0}.items():
        labels = {"port": "default", "state": state}
        assert value(found, "iocp_sock_ledger_state_bytes", **labels) == wanted
    for state, wanted in {"queued": 2, "pending": 1, "cancelling": 0}.items():
        assert value(found, "iocp_sock_operations", port="default", state=state) == wanted
    assert value(found, "iocp_sock_kind_operations", port="default", kind="receive") == 3
    assert value(found, "iocp_sock_ledger_kind_bytes", port="default", kind="send") == 0
    for op in reversed(ops):
        op.cancel()
    finish(port, *ops)


def test_every_figure_is_exported(port):
    """Every int field of Stats is exported as the value of a metric."""
    from dataclasses import fields, replace

    marks = {f.name: i for i, f in enumerate(fields(iocp_sock.Stats), 1000) if f.type == "int"}
    stats = replace(port.stats(), **marks)

    class Marked(iocp_sock.Port):
        def stats(self, *, sockets: int = 0) -> iocp_sock.Stats:
            return stats

    with Marked(backend=port.backend) as marked:
        seen = {one.value for family in scrape(marked).values() for one in family.samples}
    assert set(marks.values()) <= seen


def test_names_follow_the_conventions(port):
    """Metric names begin with iocp_sock_ and use base units; those of counters end with _total."""
    families = scrape(port)
    assert len(families) > 20
    for name, family in families.items():
        assert name.startswith("iocp_sock_")
        assert family.documentation.endswith(".")
        assert "nanosecond" not in name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")


def test_latencies_are_a_histogram(make_port, peers):
    """Latency buckets are cumulative and in seconds; count and sum equal those of stats()."""
    port = make_port(latency=True)
    sock, peer = peers.pair(port)
    for _ in range(7):
        op = sock.recv(10)
        peer.sendall(b"x")
        finish(port, op)
    run_until(port, lambda: port.outstanding == 0)
    histogram = port.stats().latency["receive"]
    families = scrape(port)
    labels = {"port": "default", "kind": "receive"}
    assert value(families, "iocp_sock_operation_seconds_count", **labels) == 7
    assert value(families, "iocp_sock_operation_seconds_sum", **labels) == pytest.approx(
        histogram.sum / 1e9
    )
    buckets = [
        (float(one.labels["le"]), one.value)
        for one in families["iocp_sock_operation_seconds"].samples
        if one.name.endswith("_bucket")
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == (float("inf"), 7)
    for bound, count in buckets[:-1]:
        below = sum(n for upper, n in histogram.buckets if upper and upper <= round(bound * 1e9))
        assert count == below
    assert any(count > 0 for bound, count in buckets if bound * 1e9 >= histogram.max)


def test_several_ports_are_told_apart(make_port, peers):
    """The label `port` tells ports apart; a port without `latency` has no latency sample."""
    first, second = make_port(), make_port(budget=PAGE)
    peers.pair(second)
    families = scrape({"first": first, "second": second})
    assert value(families, "iocp_sock_sockets", port="first") == 0
    assert value(families, "iocp_sock_sockets", port="second") == 1
    assert value(families, "iocp_sock_ledger_budget_bytes", port="second") == PAGE
    assert families["iocp_sock_operation_seconds"].samples == []


def test_a_closed_port_keeps_its_last_figures(make_port):
    """A port can still be scraped after close()."""
    port = make_port()
    port.close()
    assert value(scrape(port), "iocp_sock_sockets", port="default") == 0


def test_without_prometheus_client_it_says_what_to_install(tmp_path):
    """Without prometheus_client, importing the exporter names the extra that installs it."""
    without = customized(tmp_path, "import sys\nsys.modules['prometheus_client'] = None\n")
    result = subprocess.run(
        [sys.executable, "-c", "import iocp_sock.exporters.prometheus"],
        env={**os.environ, **without},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "iocp-sock[prometheus]" in result.stderr
