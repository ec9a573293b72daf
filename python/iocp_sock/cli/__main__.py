"""``python -m iocp_sock.cli`` is the same program as ``iocp-sock``."""

from iocp_sock.cli import main

if __name__ == "__main__":
    main()
