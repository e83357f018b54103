"""The resource types that live in monitor processes, as the host sees them."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting import monitor_messages as messages
from quorate.hosting.contract import ControlAnswer, Parameters
from quorate.hosting.monitor import Monitor, MonitorLost
from quorate.hosting.resource_type import Lost, OfflineRequest, OpenedResource, ReportStatus, ResourceType, TypeTraits

_CLOSE_WITHIN: Final = 2.0  # seconds; nobody waits longer for a type that forgets a resource
_log: Final = logging.getLogger(__name__)
_SHARED: Final = ""  # the key of the monitor that holds all who did not ask for one of their own


@dataclass(slots=True)
class _Open:
    """A resource that the host has opened, and the monitor in which it is open, once it is."""

    resource: OpenedResource
    lost: Lost
    monitor: Monitor | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


class MonitorPool:
    """All monitor processes of a node, and which resource is in which."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Take the environment that monitors get; this process's own if None."""
        self._environment = dict(os.environ if environment is None else environment)
        self._monitors: dict[str, Monitor] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._open: dict[ResourceId, _Open] = {}
        self._culprits: set[ResourceId] = set()

    def type(self, name: str) -> "MonitoredType":
        """A type that lives in monitors. Whether there is one of that name shows when it is called (5078)."""
        return MonitoredType(name, self)

    def process_id(self, resource_id: ResourceId) -> int:
        """The process id of the monitor that holds a resource; 0 when none does."""
        found = self._open.get(resource_id)
        return found.monitor.pid if found is not None and found.monitor is not None and found.monitor.is_alive else 0

    def add(self, resource: OpenedResource, lost: Lost) -> None:
        """Take a resource; its monitor starts with the first call."""
        self._open[resource.resource_id] = _Open(resource, lost)

    async def remove(self, resource_id: ResourceId) -> None:
        """Close a resource where it is open, and end its monitor if that holds nothing any more."""
        found = self._open.pop(resource_id, None)
        if found is None or found.monitor is None or not found.monitor.is_alive:
            return
        monitor = found.monitor
        monitor.forget_reports(resource_id)
        try:
            async with asyncio.timeout(_CLOSE_WITHIN):
                await monitor.call(found.resource.type_name, "close", resource_id, {})
        except (ClusterError, TimeoutError) as error:
            _log.warning("resource %s did not close in its monitor: %r", resource_id, error)
        finally:
            if all(other.monitor is not monitor for other in self._open.values()):
                await self._retire(monitor)

    async def holder(self, resource_id: ResourceId) -> Monitor:
        """The monitor in which the resource is open, after opening it in one if need be. Raises FaultError."""
        found = self._open.get(resource_id)
        if found is None:
            raise MonitorLost(f"resource {resource_id} is not open on this node")
        async with found.opening:
            if found.monitor is None or not found.monitor.is_alive:
                monitor = await self._monitor(self._key(found.resource))
                arguments = {"opened": messages.pack_opened(found.resource)}
                await monitor.call(found.resource.type_name, "open", resource_id, arguments)
                found.monitor = monitor
            return found.monitor

    async def shared(self) -> Monitor:
        """The monitor for the calls of types. Raises FaultError."""
        return await self._monitor(_SHARED)

    def on_deadlock(self, resource_id: ResourceId | None, sentence: str) -> None:
        """Kill the monitor in which a call hangs; a resource gets one of its own from now on."""
        found = self._open.get(resource_id) if resource_id is not None else None
        monitor = self._monitors.get(_SHARED if found is None else self._key(found.resource))
        if found is not None:
            monitor = found.monitor or monitor  # none as long as it hangs in open
            self._culprits.add(found.resource.resource_id)
        if monitor is not None:
            monitor.kill(f"{sentence}; its monitor process {monitor.pid} was ended")

    async def close(self) -> None:
        """End all monitors; what is online in them goes on."""
        monitors = list(self._monitors.values())
        self._monitors.clear()
        self._open.clear()
        await asyncio.gather(*(monitor.stop() for monitor in monitors))

    def _key(self, resource: OpenedResource) -> str:
        own = resource.separate_monitor or resource.resource_id in self._culprits
        return resource.resource_id if own else _SHARED

    async def _monitor(self, key: str) -> Monitor:
        async with self._starting.setdefault(key, asyncio.Lock()):
            monitor = self._monitors.get(key)
            if monitor is None or not monitor.is_alive:
                monitor = Monitor(self._on_lost, self._environment)
                await monitor.start()
                self._monitors[key] = monitor
            return monitor

    async def _retire(self, monitor: Monitor) -> None:
        for key in [key for key, value in self._monitors.items() if value is monitor]:
            del self._monitors[key]
            self._starting.pop(key, None)
        await monitor.stop()

    def _on_lost(self, monitor: Monitor, sentence: str) -> None:
        for key in [key for key, value in self._monitors.items() if value is monitor]:
            del self._monitors[key]
        held: list[Callable[[str], None]] = [found.lost for found in self._open.values() if found.monitor is monitor]
        for lost in held:
            lost(sentence)


class MonitoredType(ResourceType):
    """One type whose entry points are called in monitor processes."""

    def __init__(self, name: str, pool: MonitorPool) -> None:
        """Take the name of the type and the node's monitors."""
        self._name = name
        self._pool = pool

    @property
    def name(self) -> str:
        """The name of the type."""
        return self._name

    @property
    def traits(self) -> TypeTraits:
        """The usual times; such a type is polled."""
        return TypeTraits()

    async def open(self, resource: OpenedResource, lost: Lost) -> None:
        """Take the resource; it is opened in its monitor when it is called the first time."""
        self._pool.add(resource, lost)

    async def close(self, resource_id: ResourceId) -> None:
        """Close it in its monitor."""
        await self._pool.remove(resource_id)

    async def online(self, resource_id: ResourceId, parameters: Parameters, report: ReportStatus) -> Status:
        """Call online in the monitor."""
        monitor = await self._pool.holder(resource_id)
        arguments = {"parameters": messages.pack_parameters(parameters)}
        return messages.status_of(await monitor.call(self._name, "online", resource_id, arguments, report))

    async def offline(self, resource_id: ResourceId, request: OfflineRequest, report: ReportStatus) -> Status:
        """Call offline in the monitor."""
        monitor = await self._pool.holder(resource_id)
        arguments = {"request": messages.pack_offline_request(request)}
        return messages.status_of(await monitor.call(self._name, "offline", resource_id, arguments, report))

    async def terminate(self, resource_id: ResourceId) -> None:
        """Call terminate in the monitor."""
        monitor = await self._pool.holder(resource_id)
        monitor.forget_reports(resource_id)
        await monitor.call(self._name, "terminate", resource_id, {})

    async def looks_alive(self, resource_id: ResourceId) -> bool:
        """Call looks_alive in the monitor."""
        monitor = await self._pool.holder(resource_id)
        return await monitor.call(self._name, "looks_alive", resource_id, {}) is True

    async def is_alive(self, resource_id: ResourceId) -> bool:
        """Call is_alive in the monitor."""
        monitor = await self._pool.holder(resource_id)
        return await monitor.call(self._name, "is_alive", resource_id, {}) is True

    async def resource_control(
        self, resource_id: ResourceId, code: int, data: bytes | None, parameters: Parameters
    ) -> ControlAnswer:
        """Call resource_control in the monitor."""
        monitor = await self._pool.holder(resource_id)
        return messages.parse_answer(
            await monitor.call(self._name, "resource_control", resource_id, _control(code, data, parameters))
        )

    async def resource_type_control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Call resource_type_control in the shared monitor."""
        monitor = await self._pool.shared()
        return messages.parse_answer(
            await monitor.call(self._name, "resource_type_control", None, _control(code, data, parameters))
        )

    def state_after_stop(self, parameters: Parameters) -> ResourceState:
        """Nobody can tell from outside: failed."""
        return ResourceState.FAILED

    async def on_deadlock(self, resource_id: ResourceId | None, sentence: str) -> None:
        """Kill the monitor in which the call hangs."""
        self._pool.on_deadlock(resource_id, sentence)


def _control(code: int, data: bytes | None, parameters: Parameters) -> messages.Message:
    return {
        "code": code,
        "data": messages.pack_data(data),
        "parameters": messages.pack_parameters(parameters),
    }
