"""Who has asked for what is being done: known where a request arrives, and to everything that is done for it."""

from contextvars import ContextVar
from typing import Final

ASKED_BY: Final[ContextVar[str]] = ContextVar("ASKED_BY", default="")
"""The actor of the request that this task works for; empty: the node does it by itself."""
