"""What a planted fault is, and how one is made of production's brains: by other cells of a table; none is patched."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, Final, TypeAlias, TypeVar

from quorate.clusapi.machine import Rule, Step, Table, follow
from quorate.migration import incoming, outgoing, recovery
from quorate.migration.incoming import Incoming
from quorate.migration.outgoing import Outgoing
from quorate.migration.ownership import OwnershipRecord
from quorate.migration.recovery import Found, FoundIncoming, IncomingJournal, OutgoingJournal
from quorate.simulator.aimed_plots import Mood
from quorate.simulator.brains import PRODUCTION, Brains, Hand

T = TypeVar("T")
StateT = TypeVar("StateT")
PhaseT = TypeVar("PhaseT", bound=Enum)
Handler: TypeAlias = Callable[[StateT, object, float], Step[StateT]]
SourceCells: TypeAlias = Mapping[tuple[outgoing.Phase, type], Handler[Outgoing]]
DestinationCells: TypeAlias = Mapping[tuple[incoming.Phase, type], Handler[Incoming]]


@dataclass(frozen=True, slots=True)
class Mask:
    """Another rule that keeps a fault from doing harm."""

    rule: str
    why: str
    """How it does, as a sentence."""
    brains: Brains
    """Production without that other rule, and nothing else wrong."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One thing that is wrong with the brains, or with what their hands guarantee."""

    name: str
    rule: str
    """The rule of DESIGN.md §4 that is removed or weakened by it."""
    sentence: str
    """What is wrong."""
    brains: Brains
    mask: Mask | None = None
    """None: it does harm by itself."""
    mood: Mood | None = None
    """The mood of the histories that are searched for it; None: each as its seed says."""

    @property
    def harmful(self) -> Brains:
        """The brains that break a law: with the mask taken off, where there is one."""
        return self.brains if self.mask is None else together(self.brains, self.mask.brains)

    @property
    def harmless(self) -> tuple[Brains, ...]:
        """Brains that break none in the history that shows the fault: production's, and a masked fault alone."""
        return (PRODUCTION,) if self.mask is None else (PRODUCTION, self.brains)


def without(*hands: Hand) -> Brains:
    """Give production's brains hands that do not see to these things."""
    return replace(PRODUCTION, weaknesses=frozenset(hands))


def together(one: Brains, other: Brains) -> Brains:
    """Have what is wrong with either."""
    both: dict[str, Any] = {}
    for field in fields(Brains):
        mine, theirs, usual = (getattr(brains, field.name) for brains in (one, other, PRODUCTION))
        both[field.name] = theirs if mine is usual else mine
    both["weaknesses"] = one.weaknesses | other.weaknesses
    return Brains(**both)


def cell(table: Table[PhaseT, StateT], phase: PhaseT, event: type) -> Handler[StateT]:
    """Give what production does about an event in a phase."""
    handler = table[phase][event].handler
    assert handler is not None, "only what is handled can be handled wrongly"
    return handler


def turned_into(kind: type[T], state: object) -> T:
    """Give a state of another brain the same fields."""
    assert isinstance(state, kind.__base__ or object), "a brain is exchanged for a kind of the same"
    values = {field.name: getattr(state, field.name) for field in fields(state)}  # type: ignore[arg-type]
    return kind(**values)


def _changed(
    table: Table[PhaseT, StateT], cells: Mapping[tuple[PhaseT, type], Handler[StateT]]
) -> Table[PhaseT, StateT]:
    """Give a table with other cells, which may lead anywhere."""
    changed = {phase: dict(rules) for phase, rules in table.items()}
    for (phase, event), handler in cells.items():
        changed[phase][event] = Rule(handler, tuple(table))
    return changed


# --- the source ------------------------------------------------------------------------------------------------------

RecoverOutgoing: TypeAlias = Callable[[OutgoingJournal, OwnershipRecord, Found, float], Step[Outgoing]]


def source(cells: SourceCells, recover: RecoverOutgoing = recovery.recover_outgoing) -> Brains:
    """Exchange the source's brain for one with other cells in its table."""
    table = _changed(outgoing.TABLE, cells)

    @dataclass(frozen=True, slots=True)
    class Other(Outgoing):
        def step(self, event: object, now: float) -> Step[Outgoing]:
            return follow(table, _phase_out, self, event, now)

    def recovered(journal: OutgoingJournal, record: OwnershipRecord, found: Found, now: float) -> Step[Outgoing]:
        step = recover(journal, record, found, now)
        return Step(turned_into(Other, step.state), step.effects)

    return replace(PRODUCTION, outgoing=Other, recover_outgoing=recovered)


def _phase_out(state: Outgoing) -> outgoing.Phase:
    return state.phase


# --- the destination -------------------------------------------------------------------------------------------------

RecoverIncoming: TypeAlias = Callable[[IncomingJournal, OwnershipRecord, FoundIncoming, float], Step[Incoming]]


def destination(
    cells: DestinationCells,
    recover: RecoverIncoming = recovery.recover_incoming,
    *,
    is_mine: Callable[[Incoming, OwnershipRecord], bool] = Incoming.is_mine,
    leaves_out: tuple[type, ...] = (),
) -> Brains:
    """Exchange the destination's brain for one with other cells, and without some of its effects."""
    table = _changed(incoming.TABLE, cells)
    mine = is_mine

    def lessened(step: Step[Incoming]) -> Step[Incoming]:
        return Step(step.state, tuple(effect for effect in step.effects if not isinstance(effect, leaves_out)))

    @dataclass(frozen=True, slots=True)
    class Other(Incoming):
        def step(self, event: object, now: float) -> Step[Incoming]:
            return lessened(follow(table, _phase_in, self, event, now))

        def is_mine(self, record: OwnershipRecord) -> bool:
            return mine(self, record)

    def recovered(
        journal: IncomingJournal, record: OwnershipRecord, found: FoundIncoming, now: float
    ) -> Step[Incoming]:
        step = lessened(recover(journal, record, found, now))
        return Step(turned_into(Other, step.state), step.effects)

    return replace(PRODUCTION, incoming=Other, recover_incoming=recovered)


def _phase_in(state: Incoming) -> incoming.Phase:
    return state.phase


NOTHING: Final[SourceCells] = {}
NOTHING_THERE: Final[DestinationCells] = {}
