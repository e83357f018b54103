"""What both sides of a migration share: events go to the brain one at a time, effects become tasks."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Coroutine
from enum import Enum
from typing import ClassVar, Final, Generic, Protocol, TypeVar

import structlog

from quorate.clusapi.identity import SessionId
from quorate.clusapi.machine import Step, UndeclaredTransition
from quorate.engine.context import EngineContext
from quorate.engine.fault_points import FaultPoints
from quorate.engine.supervised import spawn

GUEST_STOPPED: Final = "stop sent"
GUEST_RESUMED: Final = "resumed"
HAND_OVER_SENT: Final = "yours sent"
HAND_OVER_ANSWERED: Final = "yours heard"
HAND_OVER_TOLD: Final = "told"
GUEST_RUNNING: Final = "running"
"""What moments are called that are no phase of a brain: from GUEST_STOPPED to GUEST_RUNNING no guest code runs."""

_log = structlog.get_logger("migration")

EventT = TypeVar("EventT")


class Brain(Protocol):
    """What is common to both brains of a migration."""

    @property
    def session(self) -> SessionId:
        """Which migration it is."""
        ...

    @property
    def phase(self) -> Enum:
        """Where it stands."""
        ...

    @property
    def reason(self) -> str:
        """Why it does not succeed; empty while it may."""
        ...


BrainT = TypeVar("BrainT", bound=Brain)


class Session(ABC, Generic[BrainT, EventT]):
    """One side of one migration, and the hands that carry out what its brain decides."""

    SIDE: ClassVar[str]
    """What the log calls this side."""

    def __init__(self, context: EngineContext, name: str, brain: BrainT) -> None:
        """Run a brain for the VM of this name."""
        self.brain = brain
        self.name = name
        self.moments: dict[str, float] = {}
        """Monotonic seconds at which each phase began; for those who measure."""
        self.ended = asyncio.Event()
        self._context = context
        self._faults = FaultPoints(context.node_name)
        self._incarnation = context.lease.incarnation
        self._events: deque[EventT] = deque()
        self._stepping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def post(self, event: EventT) -> None:
        """Hand an event to the brain; a lease that has lapsed since is told first (R2)."""
        incarnation = self._context.lease.incarnation
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._events.extend(self._news_of_lapse())
        self._events.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._events:
                self._take(self._events.popleft())
        finally:
            self._stepping = False

    def carry_on(self, effects: tuple[object, ...]) -> None:
        """Begin with the effects of a new session, or of a recovery."""
        for effect in effects:
            self._do(effect)

    def _take(self, event: EventT) -> None:
        before = self.brain
        try:
            step = self._step(event, self._context.now())
        except UndeclaredTransition:
            # A bug of ours. The event is dropped, as nothing may be guessed; deadlines and the other side go on.
            _log.exception("a brain does not know an event", vm=self.name, session=before.session)
            return
        self.brain = step.state
        if step.state.phase is not before.phase:
            self.moments[str(step.state.phase.value)] = self._context.now()
            _log.info(
                self.SIDE,
                vm=self.name,
                session=before.session,
                phase=f"{before.phase.value} -> {step.state.phase.value}",
                on=type(event).__name__,
                reason=step.state.reason,
            )
        self._on_step(before, event)
        for effect in step.effects:
            self._do(effect)

    @abstractmethod
    def _step(self, event: EventT, now: float) -> Step[BrainT]:
        """Have the brain take in an event."""

    @abstractmethod
    def _news_of_lapse(self) -> tuple[EventT, ...]:
        """Make the events that tell the brain of a lapse, and of what has happened meanwhile."""

    @abstractmethod
    def _tick(self) -> EventT:
        """Make the event that ends a pause."""

    @abstractmethod
    def _on_step(self, before: BrainT, event: EventT) -> None:
        """Show what a step has changed."""

    @abstractmethod
    def _do(self, effect: object) -> None:
        """Carry out an effect."""

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run one effect; it is dropped when the session ends."""
        spawn(self._tasks, work, f"an effect of the migration of {self.name}")

    def _spawn_outliving(self, work: Coroutine[object, object, None]) -> None:
        """Run what outlives the session."""
        spawn(_OUTLIVING, work, f"the end of the migration of {self.name}")

    def _wake_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, lambda: self.post(self._tick()))

    def _drop_effects(self) -> None:
        """End everything that is under way for the brain, which has ended."""
        if self._timer is not None:
            self._timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()


_OUTLIVING: set[asyncio.Task[None]] = set()
