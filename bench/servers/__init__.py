"""Echo servers of one shape, each a process: prints its port, ends with SIGTERM or stdin."""
