"""The backends that the system grants to this user."""

import iocp_sock

STATES = iocp_sock.probe()
GRANTED = [name for name, state in STATES.items() if state == "ok"]
REFUSED = [name for name, state in STATES.items() if state != "ok"]
