"""Echo servers of one shape: each process prints its port, and ends with SIGTERM or stdin."""
