"""The values of options, with the core's types."""

import sys
from typing import Literal, TypeAlias

if sys.platform == "win32":
    Backend: TypeAlias = Literal["auto", "iocp"]
else:
    Backend: TypeAlias = Literal["auto", "uring", "epoll"]
Receive: TypeAlias = Literal["pooled", "direct", "zero_byte", "adaptive"]
Send: TypeAlias = Literal["buffered", "direct", "when_writable"]
