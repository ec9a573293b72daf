"""Echo servers with one interface: each prints its port, and ends on SIGTERM or with its stdin."""
