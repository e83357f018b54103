"""The hands of one hosted resource: carries out what its state machine says, and feeds the results back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Final

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.identity import GroupId
from quorate.clusapi.states import ResourceState, ResourceStatus
from quorate.clusapi.status import Status
from quorate.hosting import resource_events as events
from quorate.hosting import resource_state as effects
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
from quorate.hosting.entry_calls import EntryCalls
from quorate.hosting.group_plan import Wish
from quorate.hosting.polling import Poller
from quorate.hosting.resource_machine import step
from quorate.hosting.resource_state import State, initial_machine
from quorate.hosting.resource_type import HolderLost, OfflineRequest, OpenedResource, ReportStatus, ResourceType

_log: Final = logging.getLogger(__name__)


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
        on_changed: Callable[["HostedResource", effects.StateChanged], None],
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
        self._machine = initial_machine(state)
        self._traits = type_.traits
        self._common: Parameters = {}
        self._latest: Parameters | None = None  # the private properties, when they have been read
        self._is_open = False
        self._opening = asyncio.Lock()  # held while it is being opened: who comes meanwhile waits until it is
        self._separate = False
        self._lost = ""  # why the monitor process is gone that is being replaced
        self._calls = EntryCalls(type_, self._opened, lambda: self._traits.deadlock_timeout)
        self._poller = Poller(facts.id, self._ask, lambda: self._traits, self.on_failed)
        self._answering = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wish: Wish | None = None

    # --- What is known -----------------------------------------------------------------------------------------

    @property
    def group_id(self) -> GroupId:
        """The group among whose resources it is hosted."""
        return self._group.id

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
    def status_information(self) -> ResourceStatus:
        """The bits of StatusInformation."""
        return self._machine.lacking

    @property
    def may_run(self) -> bool:
        """Answer whether something of it may run here."""
        return self._machine.state.may_run

    @property
    def has_to_be_ended(self) -> bool:
        """Answer whether something may run that is not the engine's to end: its types give notice of failures."""
        return self.may_run and not self.type.traits.notifies_failure

    @property
    def is_busy(self) -> bool:
        """Answer whether an online, offline or terminate call has not returned yet."""
        return self._answering > 0

    # --- Coming and going --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the resource in its type, and begin to poll it if it is online."""
        async with self._opening:
            await self.refresh()
            await self._open_in_type()
        if self._machine.state is State.ONLINE:
            self._poller.begin(at_once=True)

    async def take_over(self, facts: ResourceFacts, group: GroupFacts) -> None:
        """Take over new facts, and the times that may have changed with them."""
        self.facts, self._group = facts, group
        await self.refresh()

    async def close(self) -> None:
        """Let go of the resource; stop nothing."""
        await self._poller.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.type.close(self.facts.id)

    async def end_and_close(self) -> None:
        """Let go of it, and of nothing that runs unless the engine sees to that: it may not be hosted here any more.

        What may run is ended by terminate; nobody is told of the states in between.
        """
        if self.has_to_be_ended:
            self._on_changed = lambda resource, change: None
            self._apply_quietly(events.OfflineRequested(self._traits.pending_timeout, forced=True))
            while self._tasks:
                await asyncio.wait(tuple(self._tasks))
        await self.close()

    async def refresh(self) -> None:
        """Take over the timeouts and intervals as they are stored; the old ones hold if the database is silent."""
        scope = PropertyScope.COMMON
        try:
            of_type, self._common = await asyncio.gather(
                self._around.store.read(TypeProperties(self.facts.type, scope)),
                self._around.store.read(ResourceProperties(self.facts.id, scope)),
            )
        except FaultError as error:
            _log.warning("the properties of resource %s are not known yet: %s", self.facts.id, error)
            return
        before, self._traits = self._traits, effective_traits(self.type.traits, of_type, self._common)
        if self._traits != before:
            self._poller.refresh()

    async def _open_in_type(self) -> None:
        """Open it, or open it again if SeparateMonitor has changed since."""
        separate = RESOURCE_COMMON.number(self._common, "SeparateMonitor") == 1
        if self._is_open:
            if self._separate == separate:
                return
            await self.type.close(self.facts.id)
        self._is_open, self._separate = True, separate
        await self._known_parameters()
        await self.type.open(self._opened(), self._on_holder_lost)

    def _opened(self) -> OpenedResource:
        return OpenedResource(
            resource_id=self.facts.id,
            name=self.facts.name,
            type_name=self.facts.type,
            group_id=self._group.id,
            group_name=self._group.name,
            was_online=self._machine.state not in (State.OFFLINE, State.ONLINE_PENDING, State.FAILED),
            separate_monitor=self._separate,
            settings=self._around.settings,
            parameters=self._latest or {},
        )

    def _on_holder_lost(self, sentence: str) -> None:
        self._lost = sentence
        self._apply_quietly(events.MonitorLost(sentence))

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

    async def on_stopped(self, sentence: str) -> bool:
        """Its type gives notice that it stopped in order, by itself; the type says what that means.

        Answers whether it is offline by that, and not failed.
        """
        parameters = await self._known_parameters()
        failed = self.type.state_after_stop(parameters) == ResourceState.FAILED
        before = self._machine.state
        self._apply_quietly(events.Stopped(failed, sentence))
        return self._machine.state is State.OFFLINE and before is not State.OFFLINE

    async def control(self, code: int, data: bytes | None, parameters: Parameters) -> ControlAnswer:
        """Call the entry point resource_control; FaultError 5931 at once when its monitor process is down."""

        async def call() -> ControlAnswer:
            return await self.type.resource_control(self.facts.id, code, data, parameters)

        async with self._opening:
            pass
        return await self._calls.enter("resource_control", call, patient=False)

    # --- The machine -------------------------------------------------------------------------------------------

    def _apply_quietly(self, event: events.Event) -> None:
        self._apply(event)

    def _apply(self, event: events.Event) -> Status:
        done = step(self._machine, event)
        self._machine = done.machine
        for effect in done.effects:
            match effect:
                case effects.CallOnline(operation):
                    self._spawn(self._call(operation, self._online))
                case effects.CallOffline(operation):
                    self._spawn(self._call(operation, self._offline))
                case effects.CallTerminate(operation):
                    self._begin_terminate(operation)
                case effects.CallRecover(operation):
                    self._spawn(self._recover(operation))
                case effects.StateChanged():
                    self._follow(effect)
        self._arm()
        return done.status

    def _follow(self, change: effects.StateChanged) -> None:
        if change.new is State.ONLINE:
            self._poller.begin(at_once=False)
        else:
            self._poller.stop()
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

    async def _call(self, operation: int, call: Callable[[int], Awaitable[Status]]) -> None:
        """Call online or offline and tell the machine what came of it."""
        try:
            async with self._calls.turn():
                if self._machine.operation != operation:
                    return  # overtaken while it waited
                status = await call(operation)
            answer = events.Answered(operation, _now(), status)
        except ClusterError as error:
            answer = events.Answered(operation, _now(), error.status, error.sentence)
        self._apply_quietly(answer)

    async def _online(self, operation: int) -> Status:
        async with self._opening:
            await self.refresh()
            await self._open_in_type()
        parameters, report = await self._known_parameters(), self._reporter(operation)
        if self._latest is None:
            raise FaultError(Status.ERROR_TIMEOUT, "its properties cannot be read: the database is silent")
        return await self._calls.timed("online", lambda: self.type.online(self.facts.id, parameters, report))

    async def _offline(self, operation: int) -> Status:
        wish = self._wish
        request = OfflineRequest(
            parameters=await self._known_parameters(),
            flags=0 if wish is None else wish.flags,
            vm_context=None if wish is None else wish.vm_context,
        )
        report = self._reporter(operation)
        return await self._calls.timed("offline", lambda: self.type.offline(self.facts.id, request, report))

    async def _recover(self, operation: int) -> None:
        """Open it in another monitor process and ask whether it works."""
        try:
            works = await self._ask("is_alive")
            outcome = (
                "it works, and is held by another one" if works else "is_alive says that it does not work any more"
            )
        except ClusterError as error:
            works, outcome = False, error.sentence
        self._apply_quietly(events.Recovered(operation, works, f"{self._lost}; {outcome}"))

    def _begin_terminate(self, operation: int) -> None:
        async def terminate() -> None:
            if earlier is not None:
                await asyncio.wait((earlier,))
            self._apply_quietly(await self._terminated(operation))

        task = self._spawn(terminate())
        earlier = self._calls.note_terminating(task)  # before the task runs for the first time

    async def _terminated(self, operation: int) -> events.Terminated:
        """Call terminate; once more when the monitor process went, for whatever reason, before it had answered."""
        for last in (False, True):
            try:
                await self._calls.timed("terminate", lambda: self.type.terminate(self.facts.id))
                break
            except HolderLost as error:
                if last:
                    return events.Terminated(operation, error.status, error.sentence)
            except ClusterError as error:
                return events.Terminated(operation, error.status, error.sentence)
        return events.Terminated(operation)

    def _reporter(self, operation: int) -> ReportStatus:
        def report(
            state: ResourceState,
            checkpoint: int,
            sentence: str,
            /,
            *,
            status: Status = Status.ERROR_SUCCESS,
            lacking: ResourceStatus = ResourceStatus.NORMAL,
        ) -> bool:
            if self._machine.operation == operation:
                self._apply_quietly(
                    events.Reported(operation, _now(), state, checkpoint, sentence, status=status, lacking=lacking)
                )
            return self._machine.operation == operation

        return report

    async def _ask(self, name: str) -> bool:
        ask = self.type.is_alive if name == "is_alive" else self.type.looks_alive
        return await self._calls.enter(name, lambda: ask(self.facts.id))

    async def _known_parameters(self) -> Parameters:
        """The private properties, as they were read last if the database does not answer."""
        try:
            self._latest = await self._around.store.read(ResourceProperties(self.facts.id, PropertyScope.PRIVATE))
        except FaultError as error:
            _log.warning("the private properties of resource %s were not read: %s", self.facts.id, error)
        return self._latest or {}


def _now() -> float:
    return asyncio.get_running_loop().time()
