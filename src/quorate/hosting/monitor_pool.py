"""All monitor processes of a node: which resource is in which, and what happens when one hangs or dies.

One monitor holds all resources that do not ask for one of their own (SeparateMonitor). It is started when something is
to be called in it, never before. When it ends unasked, its resources are told ``lost``, calls that wait for it fail,
and the next call starts another one and opens the resource there: at once the first time, then after a pause that
doubles.

Whoever is to blame is set apart, so that the others have peace the next time: a resource whose entry point hung
(DeadlockTimeout) gets a monitor of its own from then on, and so do those for which something was under way when their
monitor crashed, since nobody can tell which of them it was. The calls of a type that hung get one as well.

What becomes of a resource whose monitor is gone is not decided here (:mod:`quorate.hosting.resource_machine`).
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.states import ResourceMonitorState
from quorate.clusapi.status import Status
from quorate.hosting import monitor_messages as messages
from quorate.hosting.monitor import Monitor
from quorate.hosting.resource_type import HolderLost, Lost, OpenedResource
from quorate.hosting.shared_deadline import SharedDeadline

LONGEST_PAUSE: Final = 30.0
"""Seconds before a monitor that crashes again and again is started once more."""
STABLE_AFTER: Final = 60.0
"""Seconds that a monitor has to live for its earlier crashes to be forgotten."""

_FIRST_PAUSE: Final = 0.5  # seconds, after the second crash
_CLOSE_WITHIN: Final = 2.0  # seconds; nobody waits longer for a type that forgets a resource
_SHARED: Final = ""  # the key of the monitor that holds all who did not ask for one of their own

_log: Final = logging.getLogger(__name__)


class MonitorNewsKind(Enum):
    """What may happen to a monitor process."""

    HUNG = "hung"  # an entry point did not return in time; the process is ended
    LOST = "lost"  # the process has ended
    STARTED = "started"  # another one runs in its place


@dataclass(frozen=True, slots=True)
class MonitorNews:
    """Something happened to a monitor process; ``resource`` is the one that hung, if it was a resource."""

    kind: MonitorNewsKind
    pid: int
    resource: ResourceId | None
    sentence: str


@dataclass(frozen=True, slots=True)
class MonitorFacts:
    """What a monitor process does at this moment, for diagnosis. ``seconds``: for how long it has been doing that."""

    pid: int
    state: ResourceMonitorState
    resource: str  # the name of the resource that is being called; empty for none
    seconds: float
    resources: tuple[str, ...]  # the names of all that it holds


@dataclass(slots=True)
class _Slot:
    """The place of one monitor: who is in it, and how its processes fared."""

    key: str
    monitor: Monitor | None = None
    starting: asyncio.Task[None] | None = None
    began: float = 0.0  # when the present process came up
    crashes: int = 0
    not_before: float = 0.0  # when another process may be started


@dataclass(slots=True)
class _Open:
    """A resource that the host has opened, and the monitor in which it is open, once it is."""

    resource: OpenedResource
    lost: Lost
    slot: _Slot | None = None  # where it is, or is being opened
    monitor: Monitor | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)


def _ignore(news: MonitorNews) -> None:
    """Nobody listens."""


class MonitorPool:
    """The monitor processes of a node."""

    def __init__(self, environment: Mapping[str, str] | None = None, deadline: SharedDeadline | None = None) -> None:
        """Take the environment that monitors get; this process's own if None.

        After ``deadline``, which stays the caller's, monitors end by themselves what is online in them.
        """
        self.on_news: Callable[[MonitorNews], None] = _ignore
        """Called when a monitor hung, ended unasked, or was started again; it must return at once."""
        self._environment = dict(os.environ if environment is None else environment)
        self._deadline = SharedDeadline() if deadline is None else deadline
        self._owns_deadline = deadline is None
        self._slots: dict[str, _Slot] = {}
        self._open: dict[ResourceId, _Open] = {}
        self._closing: dict[ResourceId, asyncio.Task[None]] = {}
        self._set_apart: set[str] = set()  # resources, and types as "type NAME"
        self._is_closed = False

    # --- What is known -----------------------------------------------------------------------------------------

    def process_id(self, resource_id: ResourceId) -> int:
        """The process id of the monitor that holds a resource; 0 when none does."""
        found = self._open.get(resource_id)
        return found.monitor.pid if found is not None and found.monitor is not None and found.monitor.is_alive else 0

    def facts(self) -> tuple[MonitorFacts, ...]:
        """What every monitor does at this moment."""
        now = asyncio.get_running_loop().time()
        return tuple(self._facts(slot, now) for slot in self._slots.values() if slot.monitor and slot.monitor.pid)

    def _facts(self, slot: _Slot, now: float) -> MonitorFacts:
        assert slot.monitor is not None
        names = {id_: found.resource.name for id_, found in self._open.items()}
        oldest = next(iter(slot.monitor.under_way), None)
        called = "" if oldest is None or oldest.resource is None else names.get(oldest.resource, oldest.resource)
        held = tuple(names[id_] for id_, found in self._open.items() if found.monitor is slot.monitor)
        began = slot.began if oldest is None else oldest.began
        return MonitorFacts(slot.monitor.pid, slot.monitor.state, called, now - began, held)

    # --- Resources come and go ---------------------------------------------------------------------------------

    def add(self, resource: OpenedResource, lost: Lost) -> None:
        """Take a resource; its monitor starts with the first call."""
        self._open[resource.resource_id] = _Open(resource, lost)

    def remove(self, resource_id: ResourceId) -> None:
        """Close a resource where it is open, and end its monitor if that holds nothing any more; nobody waits."""
        found = self._open.pop(resource_id, None)
        if found is None or found.slot is None:
            return
        task = asyncio.create_task(self._close(found, self._closing.get(resource_id)), name=f"closing {resource_id}")
        self._closing[resource_id] = task

        def on_done(done: asyncio.Task[None]) -> None:
            if self._closing.get(resource_id) is done:
                del self._closing[resource_id]
            if not done.cancelled() and done.exception() is not None:
                _log.error("resource %s was not closed: %r", resource_id, done.exception())

        task.add_done_callback(on_done)

    async def _close(self, found: _Open, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait((earlier,))
        monitor, slot = found.monitor, found.slot
        if monitor is not None and monitor.is_alive:
            monitor.forget_reports(found.resource.resource_id)
            try:
                async with asyncio.timeout(_CLOSE_WITHIN):
                    await monitor.call(found.resource.type_name, "close", found.resource.resource_id, {})
            except (ClusterError, TimeoutError) as error:
                _log.warning("resource %s did not close in its monitor: %r", found.resource.name, error)
        if slot is not None and all(other.slot is not slot for other in self._open.values()):
            await self._retire(slot)

    async def _retire(self, slot: _Slot) -> None:
        if slot.monitor is not None and slot.monitor.under_way:
            return  # the call of a type, which needs no resource
        if self._slots.get(slot.key) is slot:
            del self._slots[slot.key]
        if slot.starting is not None:
            await asyncio.wait((slot.starting,))
        if slot.monitor is not None:
            await slot.monitor.stop()

    async def close(self) -> None:
        """End all monitors; what is online in them goes on."""
        self._is_closed = True
        if self._closing:
            await asyncio.wait(tuple(self._closing.values()))
        slots = list(self._slots.values())
        self._slots.clear()
        self._open.clear()
        starting = [slot.starting for slot in slots if slot.starting is not None]
        if starting:
            await asyncio.wait(starting)
        await asyncio.gather(*(slot.monitor.stop() for slot in slots if slot.monitor is not None))
        if self._owns_deadline:
            self._deadline.close()

    # --- Calls -------------------------------------------------------------------------------------------------

    def holder(self, resource_id: ResourceId) -> Monitor:
        """The monitor in which a resource is open. Raises :class:`HolderLost` when it is in none."""
        found = self._open.get(resource_id)
        if found is None or found.monitor is None:
            raise HolderLost(f"resource {resource_id} is open in no monitor process")
        return found.monitor

    async def prepare(self, resource: OpenedResource, limit: float, *, patient: bool) -> None:
        """See to it that a resource is open in a monitor; see :meth:`ResourceType.prepare`."""
        resource_id = resource.resource_id
        found = self._open.get(resource_id)
        if found is None:
            raise HolderLost(f"resource {resource.name!r} is not open on this node")
        found.resource = resource
        if found.monitor is not None and found.monitor.is_alive:
            return
        if not patient:
            _check_pause(self._slot(self._key(resource)))
        async with found.opening:
            closing = self._closing.get(resource_id)
            if closing is not None:
                await asyncio.wait((closing,))
            if found.monitor is None or not found.monitor.is_alive:
                await self._open_in_monitor(found, limit, patient=patient)

    async def _open_in_monitor(self, found: _Open, limit: float, *, patient: bool) -> None:
        slot = found.slot = self._slot(self._key(found.resource))
        monitor = await self._monitor(slot, patient=patient)
        opened, name = found.resource, found.resource.name
        try:
            async with asyncio.timeout(limit) as scope:
                arguments = {"opened": messages.pack_opened(opened)}
                await monitor.call(opened.type_name, "open", opened.resource_id, arguments)
        except TimeoutError:
            if not scope.expired():
                raise
            sentence = f"open of {name!r} did not return within {limit:g} s (DeadlockTimeout)"
            self.on_deadlock(opened.resource_id, opened.type_name, sentence)
            raise FaultError(Status.ERROR_RESOURCE_CALL_TIMED_OUT, sentence) from None
        if self._open.get(opened.resource_id) is not found:
            raise HolderLost(f"resource {name!r} was closed while it was being opened")
        found.monitor = monitor

    async def for_type(self, type_name: str) -> Monitor:
        """The monitor for the calls of a type. Raises FaultError 5017 and 5931."""
        mark = _mark(type_name)
        return await self._monitor(self._slot(mark if mark in self._set_apart else _SHARED), patient=False)

    def _key(self, resource: OpenedResource) -> str:
        own = resource.separate_monitor or resource.resource_id in self._set_apart
        return resource.resource_id if own else _SHARED

    def _slot(self, key: str) -> _Slot:
        if self._is_closed:
            raise HolderLost("the node's service is ending")
        return self._slots.setdefault(key, _Slot(key))

    async def _monitor(self, slot: _Slot, *, patient: bool) -> Monitor:
        """The monitor of a slot, started if need be. Raises FaultError 5017 and 5931."""
        while slot.monitor is None or not slot.monitor.is_alive:
            if self._is_closed:
                raise HolderLost("the node's service is ending")
            if slot.starting is None and slot.monitor is not None and slot.monitor.pid:
                await slot.monitor.wait_gone()  # killed, and not yet seen to be gone
            if not patient:
                _check_pause(slot)
            elif (pause := slot.not_before - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(pause)
                continue
            if slot.starting is None:
                slot.starting = asyncio.create_task(self._start(slot), name=f"starting a monitor {slot.key}")
            starting = slot.starting
            await asyncio.wait((starting,))  # who waits may give up; who starts goes on
            if slot.starting is starting:
                slot.starting = None
            starting.result()
        return slot.monitor

    async def _start(self, slot: _Slot) -> None:
        monitor = slot.monitor = Monitor(self._on_lost, self._environment, self._deadline.descriptor)
        await monitor.start()
        slot.began = asyncio.get_running_loop().time()
        if slot.crashes or slot.key in self._set_apart:
            sentence = f"monitor process {monitor.pid} runs in the place of one that is gone"
            self.on_news(MonitorNews(MonitorNewsKind.STARTED, monitor.pid, None, sentence))

    # --- What goes wrong ---------------------------------------------------------------------------------------

    def on_deadlock(self, resource_id: ResourceId | None, type_name: str, sentence: str) -> None:
        """Kill the monitor in which a call hangs; whose call it was gets one of its own from now on."""
        found = self._open.get(resource_id) if resource_id is not None else None
        if resource_id is None:
            mark = _mark(type_name)
            slot = self._slots.get(mark if mark in self._set_apart else _SHARED)
            self._set_apart.add(mark)
        else:
            slot = None if found is None else found.slot
            self._set_apart.add(resource_id)
        if slot is None or slot.monitor is None or not slot.monitor.pid:
            return
        pid = slot.monitor.pid
        told = f"{sentence}; its monitor process {pid} was ended"
        slot.monitor.kill(told, deadlocked=True)
        self.on_news(MonitorNews(MonitorNewsKind.HUNG, pid, resource_id, told))

    def _on_lost(self, monitor: Monitor, sentence: str) -> None:
        slot = next((slot for slot in self._slots.values() if slot.monitor is monitor), None)
        if slot is None:
            return
        now = asyncio.get_running_loop().time()
        held = [found for found in self._open.values() if found.monitor is monitor]
        if not monitor.is_deadlocked and len(held) > 1:
            self._set_apart |= monitor.working_for
            self._set_apart |= {_mark(call.type_name) for call in monitor.under_way if call.resource is None}
        slot.crashes = slot.crashes + 1 if not slot.began or now - slot.began < STABLE_AFTER else 1
        slot.not_before = now + _pause(slot.crashes)
        slot.began = 0.0
        names = ", ".join(repr(found.resource.name) for found in held) or "no resource"
        _log.warning("%s; it held %s", sentence, names)
        self.on_news(MonitorNews(MonitorNewsKind.LOST, monitor.pid, None, f"{sentence}; it held {names}"))
        for found in held:
            found.monitor = None
        for found in held:
            found.lost(sentence)


def _pause(crashes: int) -> float:
    """Seconds to wait after so many crashes in a row: none after the first one, then more and more."""
    return 0.0 if crashes < 2 else min(_FIRST_PAUSE * 2.0 ** min(crashes - 2, 16), LONGEST_PAUSE)


def _check_pause(slot: _Slot) -> None:
    """Refuse to wait for a process that is not to be started yet. Raises FaultError 5931."""
    pause = slot.not_before - asyncio.get_running_loop().time()
    if pause > 0:
        sentence = f"its monitor process has crashed {slot.crashes} times in a row; another is started in {pause:.1f} s"
        raise FaultError(Status.ERROR_CLUSTER_RHS_FAILED_INITIALIZATION, sentence)


def _mark(type_name: str) -> str:
    return f"type {type_name.casefold()}"
