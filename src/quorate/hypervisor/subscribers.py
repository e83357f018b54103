"""Who is told of an instance's events."""

from __future__ import annotations

from collections.abc import Callable

from quorate.hypervisor.contract import InstanceEvent


class Subscribers:
    """Calls each subscriber with each event, in the order in which they came."""

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[InstanceEvent], None]] = {}
        self._next = 0

    def add(self, callback: Callable[[InstanceEvent], None]) -> Callable[[], None]:
        """Have ``callback`` called from now on; what is returned ends it, also when called twice."""
        number, self._next = self._next, self._next + 1
        self._callbacks[number] = callback
        return lambda: self._callbacks.pop(number, None) and None

    def publish(self, event: InstanceEvent) -> None:
        """Tell everybody."""
        for callback in tuple(self._callbacks.values()):
            callback(event)

    def clear(self) -> None:
        """Tell nobody any more."""
        self._callbacks.clear()
