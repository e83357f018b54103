"""What both sides of a simulated migration share: `engine/session.py` in a simulated world."""

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Generic

from quorate.clusapi.identity import GroupId
from quorate.clusapi.machine import Step, UndeclaredTransition
from quorate.engine.session import BrainT, EventT
from quorate.simulator.brains import Hand
from quorate.simulator.kernel import Future, Life, Timer
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon


class Session(ABC, Generic[BrainT, EventT]):
    """One side of one migration."""

    SIDE: ClassVar[str]

    def __init__(self, daemon: "Daemon", group: GroupId, brain: BrainT) -> None:
        """Run a brain."""
        self.daemon = daemon
        self.group = group
        self.brain = brain
        self.life = Life(daemon.life.kernel, daemon.life)
        """Ends with the session: nothing that was under way for it goes on."""
        self.ended: Future[None] = Future(daemon.life.kernel)
        self._incarnation = daemon.keeper.incarnation
        self._events: deque[EventT] = deque()
        self._is_stepping = False
        self._timer: Timer | None = None

    def post(self, event: EventT) -> None:
        """Hand an event to the brain; a lease that has lapsed since is told first (R2)."""
        incarnation = self.daemon.keeper.incarnation
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            if Hand.INCARNATION not in self.daemon.world.brains.weaknesses:
                self._events.extend(self._news_of_lapse())
        self._events.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        while self._events:
            self._take(self._events.popleft())
        self._is_stepping = False

    def carry_on(self, effects: tuple[object, ...]) -> None:
        """Begin with the effects of a new session, or of a recovery."""
        self.daemon.world.on_phase(self.group, self.SIDE, str(self.brain.phase.value))
        for effect in effects:
            self._do(effect)

    def _take(self, event: EventT) -> None:
        before = self.brain
        try:
            step = self._step(event, self.daemon.machine.clock.monotonic())
        except UndeclaredTransition as error:
            raise self.daemon.world.laws.broken("brain", f"{self.SIDE} of {self._name}: {error}") from error
        self.brain = step.state
        if step.state.phase is not before.phase:
            world = self.daemon.world
            if world.trace.is_kept:
                self.daemon.say(
                    Kind.DECISION,
                    f"{self._name} {self.SIDE} {before.phase.value} -> {step.state.phase.value}"
                    f" on {type(event).__name__}{f': {step.state.reason}' if step.state.reason else ''}",
                )
            world.on_phase(self.group, self.SIDE, str(step.state.phase.value))
        self._on_step(before, event)
        for effect in step.effects:
            self._do(effect)

    @property
    def _name(self) -> str:
        return self.daemon.world.name_of(self.group)

    @abstractmethod
    def _step(self, event: EventT, now: float) -> Step[BrainT]:
        """Have the brain take in an event."""

    @abstractmethod
    def _news_of_lapse(self) -> tuple[EventT, ...]:
        """Make the events that tell of a lapse."""

    @abstractmethod
    def _tick(self) -> EventT:
        """Make the event that ends a pause."""

    def _on_step(self, before: BrainT, event: EventT) -> None:
        """Show what a step has changed."""

    @abstractmethod
    def _do(self, effect: object) -> None:
        """Carry out an effect."""

    def _wake_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.life.later(seconds, lambda: self.post(self._tick()))
