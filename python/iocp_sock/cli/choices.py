"""The types of the command line's options for backends and strategies."""

import sys
from typing import Literal, TypeAlias

if sys.platform == "win32":
    Backend: TypeAlias = Literal["auto", "iocp"]
else:
    Backend: TypeAlias = Literal["auto", "uring", "epoll"]
Receive: TypeAlias = Literal["pooled", "direct", "zero_byte", "adaptive"]
Send: TypeAlias = Literal["buffered", "direct", "when_writable"]
