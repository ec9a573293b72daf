"""Benchmarks of iocp_sock beside its peers: `python -m bench echo`, `idle`, `strategies`."""
