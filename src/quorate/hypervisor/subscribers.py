"""Who is told of an instance's events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from quorate.hypervisor.contract import Exited, InstanceEvent

_log = structlog.get_logger("hypervisor")


class Subscribers:
    """Calls each subscriber with each event, in the order in which they came; `Exited` is the last.

    Whoever subscribes after that is told of it alone, soon.
    """

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[InstanceEvent], None]] = {}
        self._next = 0
        self._exited: Exited | None = None

    def add(self, callback: Callable[[InstanceEvent], None]) -> Callable[[], None]:
        """Have ``callback`` called from now on; what is returned ends it, also when called twice."""
        number, self._next = self._next, self._next + 1
        self._callbacks[number] = callback
        if self._exited is not None:
            asyncio.get_running_loop().call_soon(self._tell, number, self._exited)
        return lambda: self._callbacks.pop(number, None) and None

    def publish(self, event: InstanceEvent) -> None:
        """Tell everybody."""
        present = tuple(self._callbacks)
        if isinstance(event, Exited):
            self._exited = event
        for number in present:
            self._tell(number, event)

    def clear(self) -> None:
        """Tell nobody any more."""
        self._callbacks.clear()
        self._exited = None

    def _tell(self, number: int, event: InstanceEvent) -> None:
        callback = self._callbacks.pop(number, None) if isinstance(event, Exited) else self._callbacks.get(number)
        if callback is None:
            return  # ended meanwhile
        try:
            callback(event)
        except Exception:  # noqa: BLE001 - the supervisor of subscribers: one must not keep the others in the dark
            name = getattr(callback, "__qualname__", repr(callback))
            _log.exception("a subscriber to a virtual machine's events failed", subscriber=name, told=event)
