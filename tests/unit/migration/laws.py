"""What the brains may never ask for, whatever they heard: rules R1 to R7, checked from their words alone.

Written from DESIGN.md §4, not from the brains: it knows no phases.
"""

from dataclasses import dataclass, field

from tests.unit.migration.world import Node, Session, Side, Violation, World

from quorate.clusapi.identity import SessionId
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.outgoing import Outgoing
from quorate.migration.ownership import Cas, CasAnswered, CasKind, CasRefused, SendCas
from quorate.migration.recovery import Noted


@dataclass
class Life:
    """What one brain in one daemon has heard and asked for; a restart begins another life."""

    recovered: bool
    lapsed: bool = False
    stopped: bool = False
    """A stop of its own, in this incarnation, and no write sent since (R1 iii)."""
    owns: bool = False
    """An answered write of its own, begun in this incarnation, and no write sent since (R1 i)."""
    latest: Cas | None = None
    latest_incarnation: int = 0
    gift_known: bool = False
    completed: bool = False
    loaded: bool = False
    told: bool = False


@dataclass
class Laws:
    """Watches a world."""

    world: World
    lives: dict[int, tuple[Session, Life]] = field(default_factory=dict)
    told_gifts: set[tuple[SessionId, int]] = field(default_factory=set)
    taken_gifts: set[tuple[SessionId, int]] = field(default_factory=set)
    conts: set[SessionId] = field(default_factory=set)
    checked: dict[str, int] = field(default_factory=dict)
    """How often each law had something to say about."""

    def __post_init__(self) -> None:
        self.world.watchers.append(self.watch)

    def watch(self, node: Node, s: Session, what: str, thing: object) -> None:
        life = self._life(node, s)
        if what == "event":
            self._hear(life, node, s, thing)
        elif s.side is Side.SOURCE:
            self._source_asks(life, node, s, thing)
        else:
            self._destination_asks(life, node, s, thing)

    def _life(self, node: Node, s: Session) -> Life:
        if id(s) not in self.lives:
            known = any(other.id == s.id and other.side is s.side for other, _ in self.lives.values())
            life = Life(recovered=known)
            if known and s.side is Side.SOURCE:
                yours = node.journal_out is not None and node.journal_out.noted is Noted.YOURS
                life.gift_known = life.completed = yours
            elif known:
                q = node.qemus.get(s.brain.image)
                life.loaded = q is not None and q.run.value in ("loaded", "running")
            self.lives[id(s)] = s, life
        return self.lives[id(s)][1]

    def _hear(self, life: Life, node: Node, s: Session, event: object) -> None:
        match event:
            case e.LeaseLapsed() | i.LeaseLapsed():
                life.lapsed, life.stopped, life.owns = True, False, False
            case CasAnswered(attempt, record) if life.latest is not None and attempt == life.latest.attempt:
                in_time = life.latest_incarnation == node.incarnation
                mine = record.holder == node.id and record.image == s.brain.image
                life.owns = in_time and mine
                life.gift_known |= life.latest.kind is CasKind.GIVE
            case CasRefused(_, current) if isinstance(s.brain, Outgoing):
                life.gift_known |= current.is_gift_of(node.id, s.brain.image)
            case e.TransferCompleted():
                life.completed = True
            case i.LoadCompleted():
                life.loaded = True
            case i.Yours():
                life.told = True
            case _:
                pass

    def _law(self, name: str, holds: bool, why: str) -> None:
        self.checked[name] = self.checked.get(name, 0) + 1
        if not holds:
            raise Violation(f"{name}: {why}")

    def _send(self, life: Life, node: Node, cas: Cas) -> None:
        life.latest, life.latest_incarnation = cas, node.incarnation
        life.stopped = life.owns = False
        self._law("epoch", cas.epoch == cas.expected.epoch + 1, "every write raises the epoch by one")

    def _source_asks(self, life: Life, node: Node, s: Session, effect: object) -> None:
        world = self.world
        assert isinstance(s.brain, Outgoing)
        match effect:
            case e.StopGuest():
                life.stopped = True
            case SendCas(cas):
                self._send(life, node, cas)
                if cas.kind is CasKind.GIVE:
                    q = node.qemus.get(s.brain.image)
                    stands = q is None or q.run.value in ("paused", "postmigrate", "gone")
                    self._law("I3", stands, "given while the guest is not stopped")
                if cas.expected.is_gift_of(node.id, s.brain.image):
                    self.taken_gifts.add((s.id, cas.expected.revision))
                    self._exclusive(s, cas.expected.revision)
                    noted = node.journal_out is not None and node.journal_out.noted is Noted.TAKE_BACK
                    self._law("R5 noted", noted, "taken back before it was noted")
            case e.ResumeGuest():
                self._law("R1", life.owns or life.stopped, "the source resumes without the right to run")
            case e.SendYours(_, revision):
                self._law("R4 answered", life.gift_known, "yours before the write was answered")
                self._law("R4 completed", life.completed, "yours before the transfer was complete")
                noted = node.journal_out is not None and node.journal_out.noted is Noted.YOURS
                self._law("R4 noted", noted, "yours before it was noted")
                self.told_gifts.add((s.id, revision))
                self._exclusive(s, revision)
            case e.EndImage():
                image, record = s.brain.image, world.record
                needed = (record.holder, record.image) == (node.id, image) or record.is_gift_of(node.id, image)
                self._law("R4 end", not needed, "the old QEMU is ended before the record has moved past the gift")
            case _:
                pass

    def _exclusive(self, s: Session, revision: int) -> None:
        both = (s.id, revision) in self.told_gifts and (s.id, revision) in self.taken_gifts
        self._law("R5", not both, "yours and take-back of one gift")

    def _destination_asks(self, life: Life, node: Node, s: Session, effect: object) -> None:
        noted = node.journal_in is not None and node.journal_in.cont_may_be_out
        match effect:
            case SendCas(cas):
                self._send(life, node, cas)
                if cas.kind is CasKind.GIVE_BACK:
                    self._law("R7", not noted and s.id not in self.conts, "given back after cont was noted")
            case i.Cont():
                self.conts.add(s.id)
                told = life.told and not life.lapsed and not life.recovered
                self._law("R6 right", told or life.owns, "the destination runs without the right to")
                self._law("R6 loaded", life.loaded, "the destination runs before all has arrived")
                self._law("R7 noted", noted, "cont before it was noted")
            case _:
                pass
