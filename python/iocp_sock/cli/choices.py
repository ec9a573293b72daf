"""The words an option may take, typed as the core types them."""

from typing import Literal, TypeAlias

Backend: TypeAlias = Literal["auto", "uring", "epoll"]
Receive: TypeAlias = Literal["pooled", "direct", "zero_byte"]
