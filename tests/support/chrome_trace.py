"""Checks a recorded trace that was exported in Chrome's trace format."""

from collections import Counter
from typing import Any


def check_chrome(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Check the document against Chrome's trace format, and return its events."""
    events = document["traceEvents"]
    named = {(e["pid"], e["args"]["name"]) for e in events if e["name"] == "process_name"}
    assert len({pid for pid, _ in named}) == len(named), "one name for each process"
    last = 0.0
    open_spans: dict[str, list[str]] = {}
    begun: Counter[tuple[str, int, str]] = Counter()
    for event in events:
        assert event["pid"] in {pid for pid, _ in named}
        if event["ph"] == "M":
            continue
        assert event["ts"] >= last
        last = event["ts"]
        if event["ph"] not in "ben":
            assert event["ph"] in "Ci"
            continue
        assert event["cat"] == "operation"
        stack = open_spans.setdefault(event["id"], [])
        key = (event["id"], event["pid"], event["name"])
        if event["ph"] == "b":
            assert event["name"].startswith(stack[0]) if stack else ":" not in event["name"]
            stack.append(event["name"])
            begun[key] += 1
        elif event["ph"] == "e":
            assert stack.pop() == event["name"], "spans of one operation are nested"
            begun[key] -= 1
        else:
            assert stack, "an instant lies within its operation's span"
    assert not any(open_spans.values()), "every b has its e"
    assert not any(begun.values())
    return events
