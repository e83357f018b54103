"""The hands of one hosted resource: carries out what its state machine says, and feeds the results back.

Entry points are called one at a time, except terminate, which may overlap the others; a call that begins while
terminate runs waits for its end. Every call is timed (DeadlockTimeout); a resource that is online is polled, unless
its type gives notice of failures by itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting import resource_events as events
from quorate.hosting import resource_machine as machine
from quorate.hosting.common_properties import RESOURCE_COMMON, effective_traits
from quorate.hosting.contract import (
    ControlAnswer,
    GroupFacts,
    Parameters,
    PropertyScope,
    PropertyStore,
    ResourceFacts,
    ResourceProperties,
    TypeProperties,
)
from quorate.hosting.group_plan import Wish
from quorate.hosting.resource_machine import Machine, State
from quorate.hosting.resource_type import OfflineRequest, OpenedResource, ReportStatus, ResourceType

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)

_FROM_SHOWN: Final[Mapping[ResourceState, State]] = {
    ResourceState.ONLINE: State.ONLINE,
    ResourceState.OFFLINE: State.OFFLINE,
    ResourceState.FAILED: State.FAILED,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a hosted resource needs of the node."""

    store: PropertyStore
    settings: Mapping[str, str] = field(default_factory=dict)


class HostedResource:
    """One resource of a group that this node owns."""

    def __init__(
        self,
        facts: ResourceFacts,
        group: GroupFacts,
        type_: ResourceType,
        state: ResourceState,
        around: Surroundings,
        on_changed: Callable[["HostedResource", machine.StateChanged], None],
        on_quiet: Callable[[], None],
    ) -> None:
        """Take the resource in the state in which it was left; one that was on its way then has failed.

        ``on_changed`` hears of every change of the state, ``on_quiet`` of every entry point that has returned.
        """
        self.facts = facts
        self.type = type_
        self._group = group
        self._around = around
        self._on_changed = on_changed
        self._on_quiet = on_quiet
        self._machine = _initial_machine(state)
        self._traits = type_.traits
        self._common: Parameters = {}
        self._latest: Parameters = {}
        self._opened: OpenedResource | None = None
        self._entry = asyncio.Lock()
        self._terminating: asyncio.Task[None] | None = None
        self._answering = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wish: Wish | None = None

    # --- What is known -----------------------------------------------------------------------------------------

    @property
    def state(self) -> ResourceState:
        """The state that the cluster shows."""
        return self._machine.state.shown

    @property
    def sentence(self) -> str:
        """Why it is in that state, for people."""
        return self._machine.sentence

    @property
    def last_status(self) -> Status:
        """How its latest operation ended."""
        return self._machine.status

    @property
    def is_busy(self) -> bool:
        """Answer whether an online, offline or terminate call has not returned yet."""
        return self._answering > 0

    # --- Coming and going --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the resource in its type, and begin to poll it if it is online."""
        try:
            await self.refresh_times()
        except FaultError as error:  # the type's own times hold until the database answers again
            _log.warning("the properties of resource %s are not known yet: %s", self.facts.id, error)
        await self._open_in_type()
        if self._machine.state is State.ONLINE:
            self._begin_polling(at_once=True)

    async def close(self) -> None:
        """Let go of the resource; stop nothing."""
        self._stop_polling()
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.type.close(self.facts.id)

    async def refresh_times(self) -> None:
        """Read the timeouts and intervals that hold for this resource again."""
        scope = PropertyScope.COMMON
        of_type = await self._around.store.read(TypeProperties(self.facts.type, scope))
        self._common = await self._around.store.read(ResourceProperties(self.facts.id, scope))
        self._traits = effective_traits(self.type.traits, of_type, self._common)

    async def _open_in_type(self) -> None:
        """Open it, or open it again if SeparateMonitor has changed since."""
        separate = RESOURCE_COMMON.number(self._common, "SeparateMonitor") == 1
        if self._opened is not None:
            if self._opened.separate_monitor == separate:
                return
            await self.type.close(self.facts.id)
        parameters = await self._known_parameters()
        self._opened = OpenedResource(
            resource_id=self.facts.id,
            name=self.facts.name,
            type_name=self.facts.type,
            group_id=self._group.id,
            group_name=self._group.name,
            was_online=self._machine.state is State.ONLINE,
            separate_monitor=separate,
            settings=self._around.settings,
            parameters=parameters,
        )
        await self.type.open(self._opened, lambda sentence: self._apply_quietly(events.MonitorLost(sentence)))

    # --- Requests and news -------------------------------------------------------------------------------------

    def request_online(self) -> Status:
        """Begin to bring it online; 0 when it is, 997 when it begins or is on its way, 5023 when it is leaving."""
        return self._apply(events.OnlineRequested(self._traits.pending_timeout))

    def request_offline(self, wish: Wish) -> Status:
        """Begin to take it offline; 0 when it is, 997 when it begins or is on its way."""
        self._wish = wish
        return self._apply(events.OfflineRequested(self._traits.pending_timeout, wish.forced))

    def request_failure(self, sentence: str) -> Status:
        """Let it count as failed; 5004 unless it is online."""
        return self._apply(events.FailRequested(sentence))

    def on_failed(self, sentence: str) -> None:
        """Its type gives notice that it failed."""
        self._apply_quietly(events.HealthLost(sentence))

    async def on_stopped(self, sentence: str) -> None:
        """Its type gives notice that it stopped in order, by itself; what that means is for the type to say."""
        parameters = await self._known_parameters()
        failed = self.type.state_after_stop(parameters) == ResourceState.FAILED
        self._apply_quietly(events.Stopped(failed, sentence))

    async def control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Call the entry point resource_control."""

        async def call() -> ControlAnswer:
            return await self.type.resource_control(self.facts.id, code, data, parameters)

        return await self._enter("resource_control", call)

    # --- The machine -------------------------------------------------------------------------------------------

    def _apply_quietly(self, event: events.Event) -> None:
        self._apply(event)

    def _apply(self, event: events.Event) -> Status:
        step = machine.step(self._machine, event)
        self._machine = step.machine
        for effect in step.effects:
            match effect:
                case machine.CallOnline(operation):
                    self._spawn(self._call(operation, "online", self._online))
                case machine.CallOffline(operation):
                    self._spawn(self._call(operation, "offline", self._offline))
                case machine.CallTerminate(operation):
                    self._terminating = self._spawn(self._terminate(operation, self._terminating))
                case machine.StateChanged():
                    self._follow(effect)
        self._arm()
        return step.status

    def _follow(self, change: machine.StateChanged) -> None:
        if change.new is State.ONLINE:
            self._begin_polling(at_once=False)
        else:
            self._stop_polling()
        self._on_changed(self, change)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._machine.deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._machine.deadline, lambda: self._apply_quietly(events.Ticked(_now())))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        self._answering += 1
        task = asyncio.create_task(work, name=f"resource {self.facts.id}")

        def on_done(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            self._answering -= 1
            if not done.cancelled() and done.exception() is not None:
                self._apply_quietly(events.HealthLost(f"hosting broke: {done.exception()!r}"))
            self._on_quiet()

        self._tasks.add(task)
        task.add_done_callback(on_done)
        return task

    # --- Entry points ------------------------------------------------------------------------------------------

    async def _call(self, operation: int, name: str, call: Callable[[ReportStatus], Awaitable[Status]]) -> None:
        """Call online or offline and tell the machine what came of it."""
        try:
            async with self._entry:
                await self._wait_terminated()
                if self._machine.operation != operation:
                    return  # overtaken while it waited
                if name == "online":
                    await self.refresh_times()
                status = await self._timed(name, lambda: call(self._reporter(operation)))
            answer = events.Answered(operation, _now(), status)
        except ClusterError as error:
            answer = events.Answered(operation, _now(), error.status, error.sentence)
        except Exception as error:  # noqa: BLE001 — the supervisor of types
            sentence = f"{self.facts.type} raised {type(error).__name__} in {name}: {error}"
            answer = events.Answered(operation, _now(), Status.ERROR_EXCEPTION_IN_RESOURCE_CALL, sentence)
        self._apply_quietly(answer)

    async def _online(self, report: ReportStatus) -> Status:
        await self._open_in_type()
        return await self.type.online(self.facts.id, await self._parameters(), report)

    async def _offline(self, report: ReportStatus) -> Status:
        wish = self._wish
        request = OfflineRequest(
            parameters=await self._known_parameters(),
            flags=0 if wish is None else wish.flags,
            vm_context=None if wish is None else wish.vm_context,
        )
        return await self.type.offline(self.facts.id, request, report)

    async def _terminate(self, operation: int, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait((earlier,))
        try:
            await self._timed("terminate", lambda: self.type.terminate(self.facts.id))
            answer = events.Terminated(operation)
        except ClusterError as error:
            answer = events.Terminated(operation, error.status, error.sentence)
        except Exception as error:  # noqa: BLE001 — the supervisor of types
            sentence = f"{self.facts.type} raised {type(error).__name__} in terminate: {error}"
            answer = events.Terminated(operation, Status.ERROR_EXCEPTION_IN_RESOURCE_CALL, sentence)
        self._apply_quietly(answer)

    def _reporter(self, operation: int) -> ReportStatus:
        def report(state: ResourceState, checkpoint: int, sentence: str) -> bool:
            if self._machine.operation == operation:
                self._apply_quietly(events.Reported(operation, _now(), state, checkpoint, sentence))
            return self._machine.operation == operation

        return report

    async def _enter(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        async with self._entry:
            await self._wait_terminated()
            return await self._timed(name, call)

    async def _wait_terminated(self) -> None:
        while self._terminating is not None and not self._terminating.done():
            await asyncio.wait((self._terminating,))

    async def _timed(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """Call an entry point within DeadlockTimeout. Raises FaultError 5910 when it does not return in time."""
        limit = self._traits.deadlock_timeout
        try:
            async with asyncio.timeout(limit) as scope:
                return await call()
        except TimeoutError:
            if not scope.expired():
                raise  # the entry point's own
            sentence = f"{name} of {self.facts.name!r} did not return within {limit:g} s (DeadlockTimeout)"
            await self.type.on_deadlock(self.facts.id, sentence)
            raise FaultError(Status.ERROR_RESOURCE_CALL_TIMED_OUT, sentence) from None

    async def _parameters(self) -> Parameters:
        self._latest = await self._around.store.read(ResourceProperties(self.facts.id, PropertyScope.PRIVATE))
        return self._latest

    async def _known_parameters(self) -> Parameters:
        """The private properties, as they were read last if the database does not answer."""
        try:
            return await self._parameters()
        except FaultError:
            return self._latest

    # --- Polling -----------------------------------------------------------------------------------------------

    def _begin_polling(self, *, at_once: bool) -> None:
        self._stop_polling()
        if not self._traits.notifies_failure:
            self._polling = asyncio.create_task(self._poll(at_once=at_once), name=f"polling {self.facts.id}")
            self._tasks.add(self._polling)
            self._polling.add_done_callback(self._tasks.discard)

    def _stop_polling(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None

    async def _poll(self, *, at_once: bool) -> None:
        """Ask LooksAlive often and IsAlive seldom, and IsAlive at once when LooksAlive says no."""
        try:
            asked = _now() if not at_once else float("-inf")
            while True:
                if _now() - asked >= self._traits.is_alive_interval:
                    asked = _now()
                    if not await self._enter("is_alive", lambda: self.type.is_alive(self.facts.id)):
                        self.on_failed("is_alive says that it does not work")
                        return
                due = asked + self._traits.is_alive_interval - _now()
                await asyncio.sleep(max(0.0, min(self._traits.looks_alive_interval, due)))
                if not await self._enter("looks_alive", lambda: self.type.looks_alive(self.facts.id)):
                    asked = float("-inf")
        except ClusterError as error:
            self.on_failed(error.sentence)
        except Exception as error:  # noqa: BLE001 — the supervisor of types
            self.on_failed(f"{self.facts.type} raised {type(error).__name__} when it was polled: {error}")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _initial_machine(state: ResourceState) -> Machine:
    known = _FROM_SHOWN.get(state)
    if known is not None:
        return Machine(known, sentence=f"it was {state.name.lower()} when this node took it over")
    sentence = (
        f"it was {state.name.lower().replace('_', ' ')} when the node's service ended; nobody knows how that ended"
    )
    return Machine(State.FAILED, status=Status.ERROR_RESOURCE_FAILED, sentence=sentence)
