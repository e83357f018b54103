"""A small world for the migration brains: nodes, daemons, QEMUs, a database and a network, without clocks or threads.

Everything that may happen next is an `Item` of one pool. Who drives the world picks: `World.fair_step` takes what is
due first, `chaos.py` takes anything and throws faults in between. After every step the invariants of DESIGN.md §4 are
checked, and `laws.py` watches what the brains hear and ask for.

What QEMU does follows what was measured: a guest that we stopped stays stopped when the transfer fails, one that QEMU
stopped by itself runs again by itself; a transfer completes only while the guest stands still; commands to one QEMU are
carried out in order, also those that a frozen QEMU got from a daemon that is dead by now.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.migration import incoming, outgoing
from quorate.migration import incoming_events as i
from quorate.migration import outgoing_events as e
from quorate.migration.convergence import Sample
from quorate.migration.incoming import Incoming
from quorate.migration.outgoing import Outgoing
from quorate.migration.ownership import Cas, CasAnswered, CasRefused, CasUnanswered, OwnershipRecord, SendCas
from quorate.migration.recovery import (
    Found,
    FoundIncoming,
    IncomingJournal,
    Noted,
    OutgoingJournal,
    recover_incoming,
    recover_outgoing,
)

ONE, TWO, THREE = NodeId("1"), NodeId("2"), NodeId("3")
MESSAGE = 0.001
COMMAND = 0.001
WRITE = 0.002
PASS = 0.050
MUTE = 2.0
COMMAND_DEADLINE = 5.0


class Violation(AssertionError):
    """A rule of DESIGN.md §4 was broken."""


class Run(Enum):
    """What a QEMU does."""

    RUNNING = "running"
    PAUSED = "paused"
    FINISH = "finish-migrate"
    """QEMU stopped the running guest by itself: it runs again by itself if the transfer fails."""
    POSTMIGRATE = "postmigrate"
    INMIGRATE = "inmigrate"
    LOADED = "loaded"
    GONE = "gone"


class Mig(Enum):
    """What a source's transfer does."""

    NONE = "none"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Side(Enum):
    """Which side of a migration."""

    SOURCE = "source"
    DESTINATION = "destination"


Brain = Outgoing | Incoming


@dataclass(eq=False)
class Item:
    """Something that may happen."""

    due: float
    seq: int
    kind: str
    act: Callable[[], None]
    blocked: Callable[[], bool]
    lost: Callable[[], None] | None = None
    """What happens when a message, or the answer of a write, is lost; None: it cannot be lost."""
    label: str = ""


@dataclass(eq=False)
class Command:
    name: str
    generation: int
    session: SessionId
    side: Side
    uri: str = ""
    answered: bool = False


@dataclass(eq=False)
class Qemu:
    node: NodeId
    image: ImageId
    run: Run
    frozen: bool = False
    commands: deque[Command] = field(default_factory=deque)
    outbox: deque[tuple[int, Side, SessionId | None, object]] = field(default_factory=deque)
    mig: Mig = Mig.NONE
    passes: int = 0
    all_sent: bool = False
    received_all: bool = False
    peer: "Qemu | None" = None
    waiting_stops: list[Command] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        return self.run is not Run.GONE


@dataclass(eq=False)
class Session:
    side: Side
    brain: Brain
    generation: int
    incarnation: int
    timer: int = 0
    ask: int = 0

    @property
    def id(self) -> SessionId:
        return self.brain.session

    @property
    def phase(self) -> outgoing.Phase | incoming.Phase:
        return self.brain.phase


@dataclass(eq=False)
class Node:
    id: NodeId
    up: bool = True
    alive: bool = True
    """The daemon lives."""
    frozen: bool = False
    generation: int = 1
    incarnation: int = 1
    lease: bool = True
    journal_out: OutgoingJournal | None = None
    journal_in: IncomingJournal | None = None
    out: Session | None = None
    inc: Session | None = None
    qemus: dict[ImageId, Qemu] = field(default_factory=dict)

    @property
    def acts(self) -> bool:
        return self.up and self.alive and not self.frozen

    def session(self, side: Side) -> Session | None:
        return self.out if side is Side.SOURCE else self.inc


@dataclass(eq=False)
class Write:
    """A compare-and-swap under way."""

    cas: Cas
    node: NodeId
    generation: int
    side: Side
    session: SessionId
    result: CasAnswered | CasRefused | None = None


Watcher = Callable[[Node, Session, str, object], None]
"""Called with ("event" | "effect", what) before it is taken in or carried out."""


class World:
    """Three nodes, one virtual machine."""

    driver_waits_for_stop = True
    """The driver answers `stop` only when the guest is stopped for good, not while QEMU is finishing by itself."""

    def __init__(self, *, guard: bool = True) -> None:
        self.now = 0.0
        self.guard = guard
        self.nodes = {n: Node(n) for n in (ONE, TWO, THREE)}
        self.pool: list[Item] = []
        self.trace: list[str] = []
        self.watchers: list[Watcher] = []
        self.seq = 0
        self.images = 0
        self.sessions = 0
        self.cut = False
        self.link_cut = False
        self.database_silent = False
        """Writes and reads get no answer; a write may land later."""
        self.database_mute = False
        """Writes land, and nobody is told."""
        self.late: list[Write] = []
        self.older: dict[ImageId, set[ImageId]] = {}
        """Of each image: those that are worth nothing once it has run (I5)."""
        self.stale: set[ImageId] = set()
        self.outcomes: list[tuple[NodeId, Side, SessionId, str]] = []
        self.cold_starts: list[tuple[NodeId, str]] = []
        self.taken_over = False
        self.node_died = False
        self.destroyed = False
        """A fault has destroyed somebody's memory: only then may a cold start be the way out."""
        self.note_fails: Callable[[], bool] = lambda: False
        self.rest_time = self.load_time = COMMAND
        self.load_fails: Callable[[], bool] = lambda: False
        self.launch_fails: Callable[[], bool] = lambda: False
        self.stops_by_itself: Callable[[], bool] = lambda: False
        self.record = OwnershipRecord(ONE, 1, self._new_image(ONE, Run.RUNNING).image, None, None, 1)

    # --- basics ----------------------------------------------------------------------------------------------------

    def _new_image_id(self, node: NodeId) -> ImageId:
        self.images += 1
        return ImageId(f"{'abc'[int(node) - 1]}{self.images}")

    def _new_image(self, node: NodeId, run: Run, image: ImageId | None = None) -> Qemu:
        qemu = Qemu(node, image or self._new_image_id(node), run)
        self.nodes[node].qemus[qemu.image] = qemu
        return qemu

    def say(self, line: str) -> None:
        self.trace.append(f"{self.now:8.3f} {line}")

    def later(
        self,
        delay: float,
        kind: str,
        act: Callable[[], None],
        blocked: Callable[[], bool] = lambda: False,
        lost: Callable[[], None] | None = None,
        label: str = "",
    ) -> Item:
        self.seq += 1
        item = Item(self.now + delay, self.seq, kind, act, blocked, lost, label)
        self.pool.append(item)
        return item

    def enabled(self) -> list[Item]:
        return [item for item in self.pool if not item.blocked()]

    def take(self, item: Item) -> None:
        """Let an item happen."""
        self.pool.remove(item)
        self.now = max(self.now, item.due)
        item.act()
        self.check()

    def fair_step(self) -> bool:
        """Let happen what is due first; False if nothing is left to happen."""
        enabled = self.enabled()
        if not enabled:
            return False
        self.take(min(enabled, key=lambda item: (item.due, item.seq)))
        return True

    def all_qemus(self) -> Iterator[Qemu]:
        for node in self.nodes.values():
            yield from node.qemus.values()

    def alive_qemus(self) -> list[Qemu]:
        return [q for q in self.all_qemus() if q.alive]

    def running(self) -> list[Qemu]:
        return [q for q in self.all_qemus() if q.run is Run.RUNNING]

    def live_sessions(self) -> list[Session]:
        return [s for n in self.nodes.values() for s in (n.out, n.inc) if s is not None]

    def check(self) -> None:
        """What holds after every step: at most one runs, and it is the record's holder with the record's image."""
        running = self.running()
        if len(running) > 1:
            raise Violation(f"two run: {[q.image for q in running]}")
        for q in running:
            if q.image in self.stale:
                raise Violation(f"I5: {q.image} runs, and its disks are newer than it")
            self.stale.update(self.older.get(q.image, set()))
            if (self.record.holder, self.record.image) != (q.node, q.image):
                raise Violation(f"I2: {q.image} runs on node {q.node}, the record is {show_record(self.record)}")
            if self.guard and not self.nodes[q.node].lease:
                raise Violation(f"I2: {q.image} runs on node {q.node} without a lease")

    # --- QEMU ------------------------------------------------------------------------------------------------------

    def _emit(self, q: Qemu, event: object, side: Side, session: SessionId | None = None) -> None:
        node = self.nodes[q.node]
        if not node.alive:
            return
        q.outbox.append((node.generation, side, session, event))
        self.later(COMMAND, "qemu event", lambda: self._deliver_outbox(q), lambda: node.frozen, label=str(event))

    def _deliver_outbox(self, q: Qemu) -> None:
        if not q.outbox:
            return
        generation, side, session, event = q.outbox.popleft()
        node = self.nodes[q.node]
        live = node.session(side)
        if not node.acts or node.generation != generation or live is None:
            return
        if (session is not None and live.id != session) or live.brain.image != q.image:
            return
        self.post(node, live, event)

    def command(self, node: Node, s: Session, name: str, uri: str = "") -> None:
        q = node.qemus.get(s.brain.image)
        command = Command(name, node.generation, s.id, s.side, uri)
        if q is None or not q.alive:
            self._reply_failed(node, command, "its QEMU is gone")
            return
        q.commands.append(command)
        self.later(COMMAND, "qemu command", lambda: self._execute(q), lambda: q.frozen, label=name)
        if name in ("stop", "cont", "cancel"):
            self.later(COMMAND_DEADLINE, "deadline", lambda: self._deadline(node, q, command), lambda: node.frozen)

    def _deadline(self, node: Node, q: Qemu, command: Command) -> None:
        if not command.answered:
            command.answered = True
            self._reply_failed(node, command, f"QEMU did not answer {command.name} in time")

    def _reply_failed(self, node: Node, command: Command, sentence: str) -> None:
        def act() -> None:
            s = node.session(command.side)
            if not node.acts or node.generation != command.generation or s is None or s.id != command.session:
                return
            match command.name, command.side:
                case "stop", _:
                    self.post(node, s, e.StopFailed(sentence))
                case "cont", Side.SOURCE:
                    self.post(node, s, e.ResumeFailed(sentence))
                case "cont", Side.DESTINATION:
                    self.post(node, s, i.ContFailed(sentence))
                case "migrate", _:
                    self.post(node, s, e.TransferFailed(sentence))
                case _:
                    pass

        self.later(COMMAND, "qemu event", act, lambda: node.frozen, label=sentence)

    def _answer(self, q: Qemu, command: Command, event: object) -> None:
        if command.answered or self.nodes[q.node].generation != command.generation:
            return
        command.answered = True
        self._emit(q, event, command.side, command.session)

    def _execute(self, q: Qemu) -> None:
        if not q.commands or not q.alive:
            return
        command = q.commands.popleft()
        self.say(f"qemu {q.image}: {command.name} in {q.run.value}")
        match command.name:
            case "migrate":
                self._begin_transfer(q, command)
            case "stop":
                self._stop(q, command)
            case "cancel":
                self._cancel(q, command)
            case "cont":
                self._cont(q, command)

    def _stop(self, q: Qemu, command: Command) -> None:
        if q.run is Run.FINISH and self.driver_waits_for_stop:
            q.waiting_stops.append(command)
            return
        if q.run is Run.RUNNING:
            q.run = Run.PAUSED
            if q.mig is Mig.ACTIVE:
                self._schedule_pass(q)
        self._answer(q, command, e.Stopped())

    def _left_finish(self, q: Qemu) -> None:
        for command in q.waiting_stops:
            stands = q.run in (Run.PAUSED, Run.POSTMIGRATE)
            self._answer(q, command, e.Stopped() if stands else e.StopFailed("the guest runs again"))
        q.waiting_stops.clear()

    def _cont(self, q: Qemu, command: Command) -> None:
        done = e.Resumed() if command.side is Side.SOURCE else i.ContDone()
        failed = e.ResumeFailed if command.side is Side.SOURCE else i.ContFailed
        if q.run in (Run.PAUSED, Run.POSTMIGRATE, Run.LOADED) and not (q.all_sent and q.mig is Mig.ACTIVE):
            q.run = Run.RUNNING
            self._answer(q, command, done)
        elif q.run is Run.RUNNING:
            self._answer(q, command, done)
        else:
            self._answer(q, command, failed(f"Migration is not finalized yet ({q.run.value})"))

    def _cancel(self, q: Qemu, command: Command) -> None:
        if q.mig is Mig.ACTIVE:
            q.mig = Mig.CANCELLED
            if q.run is Run.FINISH:
                q.run = Run.RUNNING
                self._left_finish(q)
        command.answered = True
        match q.mig:
            case Mig.COMPLETED:
                self._emit(q, e.TransferCompleted(), Side.SOURCE)
            case Mig.FAILED:
                self._emit(q, e.TransferFailed("the transfer failed"), Side.SOURCE)
            case _:
                self._emit(q, e.TransferCancelled("the transfer was cancelled"), Side.SOURCE)

    def _begin_transfer(self, q: Qemu, command: Command) -> None:
        peer = next((p for p in self.all_qemus() if f"unix:{p.image}" == command.uri), None)
        q.passes, q.all_sent, q.peer, q.mig = 0, False, peer, Mig.ACTIVE
        if peer is None or peer.run is not Run.INMIGRATE or self.link_cut:
            self.fail_transfer(q, "connection refused")
            return
        self._schedule_pass(q)

    def _schedule_pass(self, q: Qemu) -> None:
        delay = PASS if q.run is Run.RUNNING else self.rest_time
        self.later(delay, "transfer", lambda: self._pass(q), lambda: self._stalls(q))

    def _stalls(self, q: Qemu) -> bool:
        if q.mig is not Mig.ACTIVE:
            return False
        return q.frozen or self.link_cut or (q.peer is not None and q.peer.alive and q.peer.frozen)

    def _pass(self, q: Qemu) -> None:
        if q.mig is not Mig.ACTIVE or not q.alive or q.peer is None or q.all_sent:
            return
        if not q.peer.alive:
            self.fail_transfer(q, "the connection broke")
            return
        if q.run is Run.RUNNING:
            q.passes += 1
            if q.passes >= 2 and self.stops_by_itself():
                q.run = Run.FINISH
                self.say(f"qemu {q.image}: stops the guest by itself")
            self._schedule_pass(q)
            return
        q.all_sent, q.peer.received_all = True, True
        peer = q.peer
        self.later(self.load_time, "load", lambda: self._load(peer), lambda: peer.frozen)
        self.later(COMMAND, "complete", lambda: self._complete(q), lambda: q.frozen)

    def _complete(self, q: Qemu) -> None:
        if q.mig is Mig.ACTIVE and q.alive:
            q.mig, q.run = Mig.COMPLETED, Run.POSTMIGRATE
            self._emit(q, e.TransferCompleted(), Side.SOURCE)
            self._left_finish(q)

    def fail_transfer(self, q: Qemu, sentence: str) -> None:
        """The source's QEMU gives the transfer up."""
        q.mig = Mig.FAILED
        self.say(f"qemu {q.image}: the transfer fails in {q.run.value}")
        if q.run is Run.FINISH:
            q.run = Run.RUNNING
        self._emit(q, e.TransferFailed(sentence), Side.SOURCE)
        self._left_finish(q)

    def _load(self, q: Qemu) -> None:
        if q.run is not Run.INMIGRATE:
            return
        if self.load_fails():
            self.fail_load(q)
            return
        q.run = Run.LOADED
        self._emit(q, i.LoadCompleted(), Side.DESTINATION)

    def fail_load(self, q: Qemu) -> None:
        """The destination's QEMU cannot load what came; it says so and ends."""
        self.say(f"qemu {q.image}: does not load")
        self._emit(q, i.LoadFailed("error while loading state"), Side.DESTINATION)
        self._exit(q)

    def kill_qemu(self, q: Qemu, *, by_us: bool = False) -> None:
        if not q.alive:
            return
        self.say(f"qemu {q.image}: killed")
        if by_us:
            q.run, q.frozen = Run.GONE, False
        else:
            self.destroyed = True
            self._exit(q)
        for other in self.all_qemus():
            if other.peer is q and other.alive and other.mig is Mig.ACTIVE and not other.frozen and not self.link_cut:
                self.later(COMMAND, "broken", lambda o=other: self._peer_gone(o), lambda o=other: o.frozen)  # type: ignore[misc]
        peer = q.peer
        if peer is not None and peer.run is Run.INMIGRATE and not peer.received_all and not self.link_cut:
            self.later(COMMAND, "broken", lambda: self._source_gone(peer), lambda: peer.frozen)

    def _peer_gone(self, q: Qemu) -> None:
        if q.alive and q.mig is Mig.ACTIVE:
            self.fail_transfer(q, "the connection broke")

    def _source_gone(self, q: Qemu) -> None:
        if q.run is Run.INMIGRATE and not q.received_all:
            self.fail_load(q)

    def _exit(self, q: Qemu) -> None:
        q.run, q.frozen = Run.GONE, False
        node = self.nodes[q.node]
        if node.out is not None and node.out.brain.image == q.image:
            self._emit(q, e.SourceExited("its QEMU is gone"), Side.SOURCE)
        elif node.inc is not None and node.inc.brain.image == q.image:
            self._emit(q, i.ImageExited("its QEMU is gone"), Side.DESTINATION)
        self._look_after(node)

    def _look_after(self, node: Node) -> None:
        """The engine looks whether a VM of its own still has its QEMU, when a QEMU or a session has ended."""
        self.later(COMMAND, "look after", lambda: self.adopt_orphan(node), lambda: node.up and not node.acts)

    def freeze_qemu(self, q: Qemu) -> None:
        q.frozen = True
        self.say(f"qemu {q.image}: frozen")
        node = self.nodes[q.node]

        def act() -> None:
            s = node.out
            if q.frozen and q.alive and node.acts and s is not None and s.brain.image == q.image:
                self.post(node, s, e.SourceMute("QEMU does not answer"))

        self.later(MUTE, "mute", act, lambda: node.frozen)

    def thaw_qemu(self, q: Qemu) -> None:
        q.frozen = False
        self.say(f"qemu {q.image}: thawed")
        self._emit(q, e.SourceSpeaking(), Side.SOURCE)
        if q.run is Run.LOADED:
            self._emit(q, i.LoadCompleted(), Side.DESTINATION)  # the engine asks one that speaks again

    # --- the database ----------------------------------------------------------------------------------------------

    def _send_cas(self, node: Node, s: Session, cas: Cas) -> None:
        write = Write(cas, node.id, node.generation, s.side, s.id)
        self.later(
            WRITE,
            "write",
            lambda: self._reach_database(write),
            lost=lambda: self.lose_write(write),
            label=f"{cas.kind.value} {cas.attempt}",
        )

    def _reach_database(self, write: Write) -> None:
        if self.database_silent:
            self.lose_write(write)
            return
        self.land(write)
        if self.database_mute:
            self._leave_unanswered(write)
            return
        self._answer_write(write)

    def _answer_write(self, write: Write) -> None:
        node = self.nodes[write.node]
        self.later(
            WRITE,
            "answer",
            lambda: self._post_write(write, write.result),
            lambda: node.frozen,
            lost=lambda: self._leave_unanswered(write),
            label=f"{write.cas.kind.value} {write.cas.attempt}",
        )

    def lose_write(self, write: Write) -> None:
        """The write gets no answer; it may land later."""
        self.late.append(write)
        self._leave_unanswered(write)

    def _leave_unanswered(self, write: Write) -> None:
        node = self.nodes[write.node]
        self.later(
            WRITE,
            "unanswered",
            lambda: self._post_write(write, CasUnanswered(write.cas.attempt)),
            lambda: node.frozen,
        )

    def land_late(self, index: int, *, answered: bool) -> None:
        """A write that was given up as unanswered lands after all; its answer may come even later."""
        write = self.late.pop(index)
        self.land(write)
        if answered:
            self._answer_write(write)

    def land(self, write: Write) -> None:
        """The write reaches the record."""
        cas = write.cas
        if self.record.revision != cas.expected.revision:
            self.say(f"database: {cas.kind.value} of node {write.node} refused")
            write.result = CasRefused(cas.attempt, self.record)
            return
        self.record = OwnershipRecord(
            cas.holder, cas.epoch, cas.image, cas.giver, cas.giver_image, self.record.revision + 1
        )
        self.say(f"database: {cas.kind.value} of node {write.node} landed: {show_record(self.record)}")
        write.result = CasAnswered(cas.attempt, self.record)
        self._show_record()

    def _post_write(self, write: Write, event: object) -> None:
        node = self.nodes[write.node]
        s = node.session(write.side)
        if node.acts and node.generation == write.generation and s is not None and s.id == write.session:
            self.post(node, s, event)

    def _show_record(self) -> None:
        """The database tells who watches. News may come late, and an older one after a newer one."""
        record = self.record
        self._look_after(self.nodes[record.holder])
        for node in self.nodes.values():
            for side in Side:
                self.later(WRITE, "watch", lambda n=node, d=side: self._seen(n, d, record), lambda n=node: n.frozen)  # type: ignore[misc]

    def _seen(self, node: Node, side: Side, record: OwnershipRecord) -> None:
        s = node.session(side)
        if node.acts and s is not None and side is Side.SOURCE:
            self.post(node, s, e.RecordSeen(record))

    def write_directly(self, holder: NodeId, image: ImageId) -> None:
        """A write of somebody who is no brain: a cold start."""
        self.older[image] = {q.image for q in self.all_qemus() if q.image != image}
        self.record = OwnershipRecord(holder, self.record.epoch + 1, image, None, None, self.record.revision + 1)
        self.say(f"database: cold start: {show_record(self.record)}")
        self._show_record()

    # --- daemons ---------------------------------------------------------------------------------------------------

    def start_migration(self, source: NodeId, destination: NodeId) -> bool:
        """What START_MIGRATION does."""
        node = self.nodes[source]
        q = node.qemus.get(self.record.image) if self.record.image else None
        if (
            not node.acts
            or node.out
            or node.inc
            or self.record.holder != source
            or q is None
            or q.run is not Run.RUNNING
        ):
            return False
        if not node.lease or q.frozen:
            return False
        self.sessions += 1
        brain = Outgoing(
            session=SessionId(f"s{self.sessions}"),
            me=source,
            destination=destination,
            image=q.image,
            destination_image=self._new_image_id(destination),
            record=self.record,
            since=self.now,
        )
        self.older[brain.destination_image] = {q.image}
        node.out = Session(Side.SOURCE, brain, node.generation, node.incarnation)
        self.post(node, node.out, e.PlaceFree())
        return True

    def cancel(self, node: Node) -> bool:
        """What CANCEL does, where the contract allows it."""
        s = node.out
        if not node.acts or s is None or not isinstance(s.brain, Outgoing) or s.brain.migration_state not in (1, 2):
            return False
        self.post(node, s, e.CancelRequested())
        return True

    def post(self, node: Node, s: Session, event: object) -> None:
        """Hand an event to a brain; a lease that has lapsed since is told first (R2), as the engine does."""
        if s.incarnation != node.incarnation:
            s.incarnation = node.incarnation
            self._take(node, s, (e if s.side is Side.SOURCE else i).LeaseLapsed("the lease ran out"))
            if node.session(s.side) is not s:
                return
        self._take(node, s, event)

    def _take(self, node: Node, s: Session, event: object) -> None:
        for watcher in self.watchers:
            watcher(node, s, "event", event)
        before = s.brain
        step = before.step(event, self.now)  # type: ignore[arg-type]
        s.brain = step.state
        moved = f" -> {step.state.phase.value}" if step.state.phase is not before.phase else ""
        self.say(f"{s.side.value} {s.id}: {type(event).__name__} in {before.phase.value}{moved}")
        self.carry_out(node, s, step.effects)

    def carry_out(self, node: Node, s: Session, effects: tuple[object, ...]) -> None:
        for effect in effects:
            for watcher in self.watchers:
                watcher(node, s, "effect", effect)
            if not isinstance(effect, e.WakeAfter | e.SampleAfter):
                self.say(f"{s.side.value} {s.id}:     {show_effect(effect)}")
            if s.side is Side.SOURCE:
                self._do_source(node, s, effect)
            else:
                self._do_destination(node, s, effect)

    def _wake(self, node: Node, s: Session, seconds: float) -> None:
        s.timer += 1
        token, generation = s.timer, node.generation

        def act() -> None:
            if node.acts and node.generation == generation and node.session(s.side) is s and s.timer == token:
                self.post(node, s, e.Tick())

        self.later(seconds, "timer", act, lambda: node.frozen)

    def _do_source(self, node: Node, s: Session, effect: object) -> None:
        assert isinstance(s.brain, Outgoing)
        match effect:
            case e.NoteBegun():
                self._note_out(node, s, Noted.BEGUN, None)
            case e.NoteYours():
                self._note_out(node, s, Noted.YOURS, e.YoursNoted())
            case e.NoteTakeBack():
                self._note_out(node, s, Noted.TAKE_BACK, e.TakeBackNoted())
            case e.AskPrepare():
                self._ask_prepare(node, s)
            case e.StartTransfer(uri):
                self.command(node, s, "migrate", uri)
            case e.SampleAfter(seconds):
                self._sample_after(node, s, seconds)
            case e.Throttle():
                pass
            case e.CancelTransfer():
                self.command(node, s, "cancel")
            case e.StopGuest():
                self.command(node, s, "stop")
            case e.ResumeGuest():
                self.command(node, s, "cont")
            case e.SendYours(epoch, revision):
                self.send(s.brain.destination, "yours", lambda n: self._got_yours(n, s.id, epoch, revision))
            case e.Abandon():
                self._abandon(node, s, 20)
            case e.EndImage():
                self._end_image(node, s, e.ImageEnded())
            case SendCas(cas):
                self._send_cas(node, s, cas)
            case e.WakeAfter(seconds):
                self._wake(node, s, seconds)
            case e.Finish(outcome, _):
                self._finish(node, s, outcome)
            case e.Tell():
                pass
            case _:
                raise Violation(f"no hand for {effect!r}")

    def _do_destination(self, node: Node, s: Session, effect: object) -> None:
        assert isinstance(s.brain, Incoming)
        match effect:
            case i.Launch():
                self._launch(node, s)
            case i.TellPrepared(uri):
                self.send(s.brain.source, "prepared", lambda n: self._to_source(n, s.id, e.Prepared(uri)))
            case i.TellFailed(sentence):
                self.send(s.brain.source, "failed", lambda n: self._to_source(n, s.id, e.DestinationFailed(sentence)))
            case i.AskSession():
                self._ask_session(node, s)
            case i.ReadRecord():
                self._read_record(node, s)
            case i.NoteCont():
                self._note_in(node, s, cont=True)
            case i.Cont():
                self.command(node, s, "cont")
            case i.Announce() | e.Tell():
                pass
            case i.EndImage():
                self._end_image(node, s, i.ImageEnded())
            case SendCas(cas):
                self._send_cas(node, s, cas)
            case e.WakeAfter(seconds):
                self._wake(node, s, seconds)
            case i.Finish(outcome, _):
                self._finish(node, s, outcome)
            case _:
                raise Violation(f"no hand for {effect!r}")

    def _soon(self, node: Node, s: Session, event: object, kind: str, delay: float = 0.0001) -> None:
        generation = node.generation

        def act() -> None:
            if node.acts and node.generation == generation and node.session(s.side) is s:
                self.post(node, s, event)

        self.later(delay, kind, act, lambda: node.frozen, label=str(event))

    def _note_out(self, node: Node, s: Session, noted: Noted, done: object | None) -> None:
        assert isinstance(s.brain, Outgoing)
        if self.note_fails():
            self._soon(node, s, e.NoteFailed("the disk is full"), "note")
            return
        b = s.brain
        node.journal_out = OutgoingJournal(b.session, b.me, b.destination, b.image, b.destination_image, noted)
        if done is not None:
            self._soon(node, s, done, "note")

    def _note_in(self, node: Node, s: Session, *, cont: bool) -> None:
        assert isinstance(s.brain, Incoming)
        if cont and self.note_fails():
            self._soon(node, s, i.NoteFailed("the disk is full"), "note")
            return
        b = s.brain
        node.journal_in = IncomingJournal(b.session, b.me, b.source, b.image, b.source_image, b.record, cont)
        if cont:
            self._soon(node, s, i.ContNoted(), "note")

    def _sample_after(self, node: Node, s: Session, seconds: float) -> None:
        generation = node.generation
        q = node.qemus[s.brain.image]

        def act() -> None:
            if not node.acts or node.generation != generation or node.session(s.side) is not s or not q.alive:
                return
            remaining = 1_000_000 if q.passes >= 2 else 50_000_000
            sample = Sample(
                100_000_000, 50_000_000 * q.passes + (q.run is not Run.RUNNING), remaining, 1e9, 1e6, q.passes
            )
            self.post(node, s, e.Sampled(sample))

        self.later(seconds, "sample", act, lambda: node.frozen or (q.frozen and q.alive))

    def _end_image(self, node: Node, s: Session, done: object) -> None:
        q = node.qemus.get(s.brain.image)
        if q is not None:
            self.kill_qemu(q, by_us=True)
        self._soon(node, s, done, "image ended")

    def _finish(self, node: Node, s: Session, outcome: str) -> None:
        self.outcomes.append((node.id, s.side, s.id, outcome))
        if s.side is Side.SOURCE:
            node.out, node.journal_out = None, None
        else:
            node.inc, node.journal_in = None, None
        self._look_after(node)
        if outcome in ("image lost", "not arrived"):
            if self.record.holder == node.id:
                self._cold_start(node, "image lost")
            elif not self.taken_over:
                raise Violation(f"node {node.id} decides a cold start; the record is {show_record(self.record)}")

    def _cold_start(self, node: Node, why: str) -> None:
        q = self._new_image(node.id, Run.PAUSED)
        self.cold_starts.append((node.id, why))
        if not self.destroyed and not self.taken_over:
            raise Violation(f"a cold start ({why}), and no fault had destroyed the memory")
        self.write_directly(node.id, q.image)
        q.run = Run.RUNNING

    def adopt_orphan(self, node: Node) -> None:
        """The engine's rule for a VM of its own whose QEMU is gone and that no session has the say over."""
        q = node.qemus.get(self.record.image) if self.record.image else None
        if self.record.holder != node.id or node.out or node.inc or not node.acts or not node.lease:
            return
        if q is not None and q.alive:
            return
        if self.record.giver is not None and not self.node_died:
            raise Violation(f"nobody has the say over {show_record(self.record)}")
        self._cold_start(node, "orphan")

    # --- messages --------------------------------------------------------------------------------------------------

    def send(self, to: NodeId, kind: str, act: Callable[[Node], None], lost: Callable[[], None] = lambda: None) -> None:
        node = self.nodes[to]

        def arrive() -> None:
            if self.cut or not node.up or not node.alive:
                lost()
            else:
                act(node)

        self.later(
            MESSAGE, "message", arrive, lambda: node.up and node.alive and node.frozen and not self.cut, lost, kind
        )

    def _to_source(self, node: Node, session: SessionId, event: object) -> None:
        if node.out is not None and node.out.id == session:
            self.post(node, node.out, event)

    def _to_destination(self, node: Node, session: SessionId, event: object) -> None:
        if node.inc is not None and node.inc.id == session:
            self.post(node, node.inc, event)

    def _got_yours(self, node: Node, session: SessionId, epoch: int, revision: int) -> None:
        if node.inc is None or node.inc.id != session or not isinstance(node.inc.brain, Incoming):
            self._look_after(node)
            return
        b = node.inc.brain
        self.post(node, node.inc, i.Yours(OwnershipRecord(b.me, epoch, b.image, b.source, b.source_image, revision)))

    def _ask_prepare(self, node: Node, s: Session) -> None:
        assert isinstance(s.brain, Outgoing)
        b, generation = s.brain, node.generation

        def refused(sentence: str) -> None:
            if node.acts and node.generation == generation and node.out is s:
                self._soon(node, s, e.PrepareRefused(sentence), "prepare refused")

        def arrive(there: Node) -> None:
            if there.inc is not None and there.inc.id == b.session:
                return
            if there.inc or there.out or any(q.alive for q in there.qemus.values()) or not there.lease:
                refused("still tidying up")
                return
            state = Incoming(b.session, there.id, b.me, b.destination_image, b.image)
            step = incoming.begin(state, self.now)
            there.inc = Session(Side.DESTINATION, step.state, there.generation, there.incarnation)
            self._note_in(there, there.inc, cont=False)
            self.carry_out(there, there.inc, step.effects)

        self.send(b.destination, "prepare", arrive, lambda: refused("out of reach"))
        self._watch_prepare(node, s)

    def _watch_prepare(self, node: Node, s: Session) -> None:
        assert isinstance(s.brain, Outgoing)
        generation, there = node.generation, self.nodes[s.brain.destination]

        def act() -> None:
            if not node.acts or node.generation != generation or node.out is not s:
                return
            if s.phase is outgoing.Phase.PREPARING:
                if there.acts and not self.cut and there.inc is not None and there.inc.id == s.id:
                    self.post(node, s, e.DestinationAlive())
                self._watch_prepare(node, s)

        self.later(0.5, "destination alive", act, lambda: node.frozen)

    def _launch(self, node: Node, s: Session) -> None:
        generation = node.generation

        def begin() -> None:
            if not node.up or node.generation != generation or node.inc is not s:
                return
            if self.launch_fails():
                self.post(node, s, i.LaunchFailed("QEMU did not start"))
            elif s.phase is incoming.Phase.PREPARING:
                self._new_image(node.id, Run.INMIGRATE, s.brain.image)
                self.later(0.01, "launch", listens, lambda: node.frozen)

        def listens() -> None:
            q = node.qemus.get(s.brain.image)
            if node.generation == generation and node.inc is s and q is not None and q.alive:
                self.post(node, s, i.Launched(f"unix:{q.image}"))

        self.later(0.01, "launch", begin, lambda: node.frozen)

    def _ask_session(self, node: Node, s: Session) -> None:
        assert isinstance(s.brain, Incoming)
        s.ask += 1
        token, generation, session = s.ask, node.generation, s.id
        answered = False

        def silent() -> None:
            if not answered and node.acts and node.generation == generation and node.inc is s and s.ask == token:
                self.post(node, s, i.SourceSilent())

        def arrive(there: Node) -> None:
            known = there.out is not None and there.out.id == session

            def back(here: Node) -> None:
                nonlocal answered
                if here.generation == generation and here.inc is s:
                    answered = True
                    self.post(here, s, i.SessionAlive() if known else i.SessionDead())

            self.send(node.id, "answer", back)

        self.send(s.brain.source, "ask", arrive)
        self.later(0.4, "silence", silent, lambda: node.frozen)

    def _read_record(self, node: Node, s: Session) -> None:
        generation = node.generation

        def act() -> None:
            if self.database_silent:
                return
            record = self.record

            def back() -> None:
                if node.acts and node.generation == generation and node.inc is s:
                    self.post(node, s, i.RecordSeen(record))

            self.later(WRITE, "read", back, lambda: node.frozen)

        self.later(WRITE, "read", act)

    def _abandon(self, node: Node, s: Session, tries: int) -> None:
        assert isinstance(s.brain, Outgoing)
        b, generation = s.brain, node.generation

        def again() -> None:
            if node.acts and node.generation == generation and tries > 1:
                self.later(0.5, "abandon again", lambda: self._abandon(node, s, tries - 1), lambda: node.frozen)

        self.send(
            b.destination, "abandon", lambda n: self._to_destination(n, b.session, i.Abandoned("given up")), again
        )

    # --- death and return ------------------------------------------------------------------------------------------

    def kill_daemon(self, node: Node) -> None:
        self.say(f"daemon {node.id}: killed")
        node.alive, node.frozen = False, False
        node.out = node.inc = None
        node.generation += 1

    def restart_daemon(self, node: Node) -> bool:
        """Bring a daemon back; it reads its journal when the database answers."""
        if self.database_silent:
            return False
        self.say(f"daemon {node.id}: restarted")
        node.alive, node.lease = True, True
        node.incarnation += 1
        for q in node.qemus.values():
            while q.commands and q.alive and not q.frozen:
                self._execute(q)
        if node.journal_out is not None:
            self._recover_out(node, node.journal_out)
        if node.journal_in is not None:
            self._recover_in(node, node.journal_in)
        self._look_after(node)
        return True

    def _recover_out(self, node: Node, journal: OutgoingJournal) -> None:
        q = node.qemus.get(journal.image)
        match q.run if q is not None else Run.GONE:
            case Run.RUNNING if q is not None and not q.frozen:
                found = Found.RUNNING
            case Run.GONE:
                found = Found.GONE
            case _:
                found = Found.PAUSED
        step = recover_outgoing(journal, self.record, found, self.now)
        node.out = Session(Side.SOURCE, step.state, node.generation, node.incarnation)
        self.say(
            f"source {journal.session}: recovered, noted {journal.noted.value}, {found.value}: {step.state.phase.value}"
        )
        self.carry_out(node, node.out, step.effects)

    def _recover_in(self, node: Node, journal: IncomingJournal) -> None:
        q = node.qemus.get(journal.image)
        match q.run if q is not None else Run.GONE:
            case Run.GONE:
                found = FoundIncoming.GONE
            case _ if q is not None and q.frozen:
                found = FoundIncoming.RECEIVING  # what cannot be asked
            case Run.RUNNING:
                found = FoundIncoming.RUNNING
            case Run.INMIGRATE:
                found = FoundIncoming.RECEIVING
            case _:
                found = FoundIncoming.LOADED
        step = recover_incoming(journal, self.record, found, self.now)
        node.inc = Session(Side.DESTINATION, step.state, node.generation, node.incarnation)
        self.say(f"destination {journal.session}: recovered, {found.value}: {step.state.phase.value}")
        self.carry_out(node, node.inc, step.effects)

    def freeze_daemon(self, node: Node) -> None:
        self.say(f"daemon {node.id}: frozen")
        node.frozen = True

    def thaw_daemon(self, node: Node) -> None:
        self.say(f"daemon {node.id}: thawed")
        node.frozen = False
        node.lease = True

    def lapse(self, node: Node) -> None:
        """The node's lease runs out: the guard ends what runs there or is about to; the daemon wakes to another."""
        self.say(f"lease of node {node.id}: ran out")
        node.incarnation += 1
        node.lease = node.acts
        if self.guard:
            for q in tuple(node.qemus.values()):
                about_to_run = q.run is Run.FINISH or any(c.name == "cont" for c in q.commands)
                if q.alive and (q.run is Run.RUNNING or about_to_run):
                    self.kill_qemu(q)

    def kill_node(self, node: Node) -> None:
        self.say(f"node {node.id}: dead")
        self.node_died = self.destroyed = True
        node.up = node.alive = node.frozen = node.lease = False
        node.generation += 1
        node.out = node.inc = None
        node.journal_out = node.journal_in = None
        for q in tuple(node.qemus.values()):
            self.kill_qemu(q, by_us=True)

    def reboot_node(self, node: Node) -> None:
        self.say(f"node {node.id}: up again")
        node.up = True
        self.restart_daemon(node)

    def take_over(self) -> bool:
        """The coordinator's part (I4, R8): a holder without a lease loses the VM to a cold start on node 3."""
        holder = self.nodes[self.record.holder]
        if holder.lease or holder is self.nodes[THREE] or (holder.up and not self.guard):
            return False
        if self.record.giver is not None:
            giver = self.nodes[self.record.giver]
            noted = giver.journal_out.noted if giver.journal_out is not None else None
            if giver.up and noted is not None and noted is not Noted.YOURS:
                return False
        self.taken_over = True
        q = self._new_image(THREE, Run.PAUSED)
        self.write_directly(THREE, q.image)
        q.run = Run.RUNNING
        return True

    # --- the end of all faults -------------------------------------------------------------------------------------

    def heal(self) -> None:
        """No more faults: everything thaws, comes back, flows and answers. What was lost lands first."""
        self.cut = self.link_cut = self.database_silent = self.database_mute = False
        self.note_fails = self.load_fails = self.launch_fails = self.stops_by_itself = lambda: False
        for q in self.all_qemus():
            if q.alive and q.frozen:
                self.thaw_qemu(q)
        for write in self.late:
            self.land(write)
        self.late.clear()
        for node in self.nodes.values():
            if node.up and not node.alive:
                self.restart_daemon(node)
            elif node.frozen:
                self.thaw_daemon(node)
        self._coordinate()
        self.check()

    def _coordinate(self) -> None:
        self.take_over()
        self.later(3.0, "coordinator", self._coordinate)

    def is_quiet(self) -> bool:
        idle = {"coordinator", "watch"}
        return not self.live_sessions() and all(item.kind in idle for item in self.pool)

    def run_until_quiet(self, limit: int = 4000) -> None:
        """Drive the world fairly until nothing is left to do."""
        for _ in range(limit):
            if self.is_quiet():
                return
            self.fair_step()
        left = [(s.side.value, s.id, s.phase.value) for s in self.live_sessions()]
        raise Violation(f"not quiet after {limit} steps: {left}, {[x.kind for x in self.pool][:20]}")

    def check_end(self) -> None:
        """When all is quiet: exactly one runs, by the record, and nothing is left over."""
        running = self.running()
        holder = self.nodes[self.record.holder]
        if not running and holder.up:
            raise Violation(f"nothing runs; the record is {show_record(self.record)}")
        strays = [q.image for q in self.alive_qemus() if q.run is not Run.RUNNING]
        if strays:
            raise Violation(f"left over: {strays}")
        for node in self.nodes.values():
            if node.journal_out is not None or node.journal_in is not None:
                raise Violation(f"node {node.id} kept a journal")


def show_record(record: OwnershipRecord) -> str:
    giver = f", given by {record.giver}/{record.giver_image}" if record.giver else ""
    return f"{record.holder}/{record.image} epoch {record.epoch}{giver}"


def show_effect(effect: object) -> str:
    match effect:
        case SendCas(cas):
            return f"SendCas {cas.kind.value} ({cas.holder}/{cas.image} epoch {cas.epoch})"
        case e.Tell(sentence):
            return f"Tell: {sentence}"
        case e.Finish(outcome, sentence) | i.Finish(outcome, sentence):
            return f"Finish {outcome}" + (f": {sentence}" if sentence else "")
        case i.TellFailed(sentence):
            return f"TellFailed: {sentence}"
        case e.StartTransfer(uri) | i.TellPrepared(uri):
            return f"{type(effect).__name__} {uri}"
        case e.SendYours(epoch, _):
            return f"SendYours epoch {epoch}"
        case _:
            return type(effect).__name__


__all__ = ["ONE", "THREE", "TWO", "Mig", "Node", "Qemu", "Run", "Session", "Side", "Violation", "World", "replace"]
