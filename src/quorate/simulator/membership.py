"""A simulated daemon's lease, its promises, and what it may conclude of the others.

The hands of `cluster/lease.py`, `promise.py` and `observer.py`, as `engine/lease.py`, `promises.py` and `membership.py`
are in production.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import NodeId
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.cluster import lease_events as e
from quorate.cluster import observer, promise
from quorate.cluster.lease import MARGIN, Holder, Phase
from quorate.cluster.lease_events import LeaseRecord, Terms
from quorate.cluster.observer import EndVerdict, Judge, Subject
from quorate.database import keys
from quorate.database.contract import Compare, Outcome, Put, Record
from quorate.database.records import Lease, Versioned
from quorate.database.snapshot import ClusterInfo, ClusterSnapshot, NodeInfo
from quorate.simulator.kernel import EPSILON, Act, Timer
from quorate.simulator.store import NodeStore
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon

ASK_TIMEOUT: Final = 0.8
"""Seconds that a node has to answer a question for a promise."""
SHORTEST: Final = 0.02
LOOK: Final = 1.0
"""Seconds between two looks at the states of the others."""


def to_brain(lease: Lease) -> LeaseRecord:
    """Give a brain a lease as the database has it."""
    return LeaseRecord(
        lease.incarnation, lease.sequence, lease.duration, lease.seen, lease.resilience, lease.ended, lease.joining
    )


def to_database(record: LeaseRecord) -> Lease:
    """Give the database a lease as a brain has it."""
    return Lease(
        record.incarnation,
        record.sequence,
        record.duration,
        record.seen,
        record.resilience,
        record.ended,
        record.joining,
    )


def terms_of(snapshot: ClusterSnapshot) -> Terms:
    """What the cluster's properties say of leases."""
    values = snapshot.cluster.properties
    delay = values.number("SameSubnetDelay", 1000) / 1000
    resilience = float(values.number("ResiliencyDefaultPeriod", 240))
    return Terms(delay, delay * values.number("SameSubnetThreshold", 5), resilience)


class Keeper:
    """Keeps one node's lease."""

    def __init__(self, daemon: "Daemon", base: str) -> None:
        """Renew nothing until `start`."""
        self._daemon = daemon
        self._store = NodeStore(daemon.world.store, daemon.machine.way, daemon.life)
        self._holder = daemon.world.brains.holder(base, daemon.machine.guard.deadline)
        self._told = daemon.machine.guard.deadline
        self._asked = self._holder
        self._until, self._deadline = self._holder.lease_until, self._holder.deadline
        """How long the lease and the deadline hold by the state of then: they are asked for again and again."""
        self._timer: Timer | None = None
        self.is_joining = True
        self.on_held: Act = lambda: None
        """Called once, when the lease is held for the first time."""
        self._was_held = False
        self._is_resting = False
        self._terms: tuple[ClusterInfo, Terms] | None = None
        """What the cluster's properties say, with what they are read of."""

    def start(self) -> None:
        """Begin to renew."""
        self._due()

    def joined(self) -> None:
        """Say from now on that this node is up."""
        self.is_joining = False
        if self._timer is not None:
            self._timer.cancel()
            self._due()

    # --- how things stand --------------------------------------------------------------------------------------------

    def holder(self) -> Holder:
        """How things stand at this moment."""
        before = self._holder
        if before is not self._asked:
            self._ask()
        if before.answered is not None:
            now = self._daemon.machine.clock.boottime()
            if now >= self._deadline:
                self._holder = before.noticed(now)
                self._note_lapse(before)
        return self._holder

    def _ask(self) -> None:
        self._asked = self._holder
        self._until, self._deadline = self._holder.lease_until, self._holder.deadline

    @property
    def incarnation(self) -> str:
        """Under what something begins at this moment."""
        return self.holder().begins_under

    @property
    def is_held(self) -> bool:
        """Tell whether the lease itself holds."""
        if self._holder is not self._asked:
            self._ask()
        return self._daemon.machine.clock.boottime() < self._until

    @property
    def may_run(self) -> bool:
        """Tell whether what runs here may go on."""
        return self.holder().may_run(self._daemon.machine.clock.boottime())

    @property
    def is_writable(self) -> bool:
        """Tell whether the database has answered this node lately."""
        return self.holder().is_writable(self._daemon.machine.clock.boottime())

    def _note_lapse(self, before: Holder) -> None:
        if self._holder.life != before.life:
            self._daemon.world.counts.lapses += 1
            self._daemon.say(Kind.NODE, "its lease has run out")

    # --- events in, effects out --------------------------------------------------------------------------------------

    def promised(self, sent: float, period: float, *, capped: bool) -> None:
        """Go on by promises."""
        self._post(e.Promised(sent, period, capped))

    def _due(self) -> None:
        self._timer = None
        view = self._daemon.view
        snapshot = view.snapshot
        is_member = self._daemon.node in snapshot.nodes
        if self._terms is None or self._terms[0] is not snapshot.cluster:
            self._terms = (snapshot.cluster, terms_of(snapshot))
        self._post(e.Due(self._terms[1], view.revision, self.is_joining, is_member))

    def _post(self, event: e.Event) -> None:
        machine = self._daemon.machine
        before = self._holder
        step = before.step(event, machine.clock.boottime())
        self._holder = step.state
        self._ask()
        deadline = self._deadline
        if deadline != self._told:
            self._daemon.world.laws.on_deadline(machine, deadline)
            machine.guard.tell(deadline)
            self._told = deadline
        self._note_lapse(before)
        if not self._was_held and self.is_held:
            self._was_held = True
            self._daemon.life.kernel.soon(self.on_held)
        for effect in step.effects:
            match effect:
                case e.Pause() if self._is_resting:
                    pass
                case e.Pause(seconds):
                    self._timer = self._daemon.life.later(seconds, self._due, routine=True)
                case e.Send(record, expected):
                    self._send(record, expected)
                case e.Read():
                    self._read()
                case e.KeepUntil():
                    pass  # done: nothing else may go before it
                case e.Say(sentence):
                    self._daemon.say(Kind.SAY, sentence)
                case _:
                    raise AssertionError(f"the lease's brain asks for {effect!r}, which has no hand")

    def _read(self) -> None:
        key = keys.lease(self._daemon.node)
        data = self._daemon.world.store.data
        self._store.call(
            lambda: data.get(key), lambda found: self._post(e.Found(*_decoded(found))), lambda: self._post(_UNANSWERED)
        )

    def _send(self, record: LeaseRecord, expected: int) -> None:
        key = keys.lease(self._daemon.node)
        compares: tuple[Compare, ...] = (Compare(key, expected),)
        if not expected:  # an evicted node has no lease: only one that is written anew could be its
            compares = (*compares, Compare(keys.evicted(self._daemon.node), 0))
        writes = (Put(key, to_database(record).encode()),)
        shared = self._daemon.world.store
        self._store.call(lambda: shared.transact(compares, writes), self._answered, lambda: self._post(_UNANSWERED))

    def _answered(self, outcome: Outcome) -> None:
        if outcome.succeeded:
            self._post(e.Answered(outcome.revision))
        else:
            self._post(e.Refused(*_decoded(outcome.compared[0])))

    @property
    def is_settled(self) -> bool:
        """Tell whether the lease is held, and nothing about it is open: it is renewed as ever."""
        holder = self._holder
        clear = holder.phase is Phase.KNOWN and holder.answered is not None and not holder.maybe
        return clear and self.is_held and not self.is_joining and holder.promised_until <= holder.lease_until

    @property
    def since_revision(self) -> int:
        """The first answered write since which the lease was never ended; 0: there was none (`Holder`)."""
        return self._holder.since_revision

    def rest(self) -> None:
        """Renew the lease no more, once what is under way is over: somebody lets time pass for it (`shift`)."""
        self._is_resting = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def shift(self, true_seconds: float) -> None:
        """Let so much time pass in which the lease was renewed as ever (`stillness.py`)."""
        clock, holder = self._daemon.machine.clock, self._holder
        assert holder.answered is not None, "it is settled"
        seconds = clock.elapsing(true_seconds)
        self._holder = replace(holder, answered=replace(holder.answered, at=holder.answered.at + seconds))
        self._told = self._daemon.machine.guard.deadline = self._holder.deadline


_UNANSWERED: Final = e.Unanswered()


def _decoded(record: Record | None) -> tuple[LeaseRecord | None, int]:
    return (None, 0) if record is None else (to_brain(Lease.decode(record.value)), record.revision)


@dataclass(slots=True)  # frozen ones take thrice as long to make
class _Shown:
    """The state of a node, and until when it stays so if nothing of this changes."""

    info: NodeInfo
    sighting: observer.Sighting
    """Of the lease: another renewal is another sighting."""
    until: float
    state: NodeState


@dataclass(slots=True)
class _Judged:
    """Why a lease may not be ended, and until when that stays so if nothing of this changes."""

    sighting: observer.Sighting
    promises: promise.Promises
    since: int
    until: float
    verdict: EndVerdict

    def is_of(self, sighting: observer.Sighting, promises: promise.Promises, since: int) -> bool:
        return self.sighting is sighting and self.promises is promises and self.since == since


@dataclass(frozen=True, slots=True, eq=False)
class _Steady:
    """Until when nobody's judgement changes if nothing of this does."""

    news: int
    promises: promise.Promises
    since: int
    until: float

    def is_of(self, news: int, promises: promise.Promises, since: int) -> bool:
        return self.news == news and self.promises is promises and self.since == since


class Membership:
    """The other nodes as this one may judge them, and what it has promised them."""

    def __init__(self, daemon: "Daemon") -> None:
        """Know of no promise of an earlier daemon."""
        self._daemon = daemon
        self._started = daemon.machine.clock.boottime()
        self._promises = daemon.world.brains.promises()
        self._ending: dict[NodeId, tuple[str, int]] = {}
        self._states: dict[NodeId, NodeState] = {}
        self._records: dict[NodeId, tuple[Versioned[Lease], LeaseRecord]] = {}
        self._shown: dict[NodeId, _Shown] = {}
        """What need not be judged anew at each look, as it stays so until a moment that is known."""
        self._mine: tuple[NodeInfo, NodeState] | None = None
        """The state of this node itself, while it holds its lease."""
        self._verdicts: dict[NodeId, _Judged] = {}
        self._statuses: dict[NodeId, tuple[NodeInfo | None, NodeStatus]] = {}
        """What the records of the nodes say."""
        self._steady: _Steady | None = None
        self.on_change: Act = lambda: None
        """Called when the state of a node has changed, be it by time alone."""
        self._timer: Timer | None = None

    def start(self) -> None:
        """Follow the view and the clock."""
        self._daemon.view.subscribe(self._on_view)
        self._look()

    def node_state(self, node: NodeId) -> NodeState:
        """State of a node, for people and for placement."""
        daemon = self._daemon
        snapshot = daemon.view.snapshot
        info, sighting, known = snapshot.nodes.get(node), daemon.view.sightings.get(node), self._shown.get(node)
        is_held, now = daemon.keeper.is_held, daemon.machine.clock.boottime()
        if known is not None and known.info is info and known.sighting is sighting and now <= known.until and is_held:
            return known.state
        if info is None:
            return NodeState.UNKNOWN
        lease = snapshot.leases.get(node)
        if node == daemon.node and (not is_held or daemon.keeper.is_joining):
            return NodeState.JOINING if is_held else NodeState.DOWN
        if lease is None or sighting is None:
            return NodeState.DOWN
        if node == daemon.node:
            if self._mine is None or self._mine[0] is not info:
                record = replace(to_brain(lease.value), ended=False, joining=False)
                self._mine = (info, observer.node_state(record, now, now, paused=info.paused))
            return self._mine[1]  # it is silent to nobody but others
        record = self._record_of(node, lease)
        state = observer.node_state(record, sighting.at, now, paused=info.paused, is_blind=not is_held)
        if is_held and now <= (until := sighting.at + record.duration):
            self._shown[node] = _Shown(info, sighting, until, state)
        return state

    def _record_of(self, node: NodeId, lease: Versioned[Lease]) -> LeaseRecord:
        """A lease as a brain has it; the same for as long as it stands."""
        known = self._records.get(node)
        if known is not None and known[0] is lease:
            return known[1]
        record = to_brain(lease.value)
        self._records[node] = (lease, record)
        return record

    def node_status(self, node: NodeId) -> NodeStatus:
        """What the record says besides the state."""
        daemon = self._daemon
        info = daemon.view.snapshot.nodes.get(node)
        known = self._statuses.get(node)
        if known is None or known[0] is not info:
            own = NodeStatus.NORMAL if info is None else info.status & ~NodeStatus.ISOLATED
            known = self._statuses[node] = (info, own)
        status = known[1]
        if node == daemon.node and daemon.keeper.may_run and not daemon.keeper.is_held:
            status |= NodeStatus.ISOLATED
        return status

    def may_end(self, node: NodeId, *, fenced: bool = False) -> EndVerdict:
        """Tell whether this node may end the lease of another one."""
        daemon = self._daemon
        snapshot = daemon.view.snapshot
        info, lease, sighting = snapshot.nodes.get(node), snapshot.leases.get(node), daemon.view.sightings.get(node)
        name = f"node {node}" if info is None else info.name
        if node == daemon.node:
            return EndVerdict(False, None, "a node does not end its own lease")
        if lease is None or sighting is None:
            return EndVerdict(False, None, f"{name} has no lease")
        now, holder = daemon.machine.clock.boottime(), daemon.keeper.holder()
        known = self._verdicts.get(node)
        is_same = known is not None and known.is_of(sighting, self._promises, holder.since_revision)
        if known is not None and is_same and not fenced and now < known.until and now < holder.lease_until:
            return known.verdict
        subject = Subject(name, self._record_of(node, lease), lease.revision, sighting.at)
        judge = Judge(
            is_held=holder.is_held(now),
            since_revision=holder.since_revision,
            admitted=snapshot.admissions.get(daemon.node),
            started=self._started,
            promised_until=self._promises.outstanding(node, now),
            held_since=holder.held_since,
        )
        verdict = daemon.world.brains.may_end(subject, judge, now, fenced)
        if verdict.allowed:
            self._ending[node] = (lease.value.incarnation, lease.revision)
        elif verdict.at is not None and judge.is_held and not fenced:
            until = min(verdict.at, sighting.at + lease.value.duration)
            self._verdicts[node] = _Judged(sighting, self._promises, holder.since_revision, until, verdict)
        return verdict

    def steady(self) -> object:
        """Give the same object for as long as the judgement of all nodes stays the same."""
        daemon, keeper = self._daemon, self._daemon.keeper
        snapshot, now = daemon.view.snapshot, daemon.machine.clock.boottime()
        known, holder = self._steady, keeper.holder()
        if not keeper.is_held or keeper.is_joining:
            return None
        is_same = known is not None and known.is_of(daemon.view.lease_news, self._promises, holder.since_revision)
        if known is not None and is_same and now < min(known.until, holder.lease_until):
            return known
        others = ((node, lease.value) for node, lease in snapshot.leases.items() if node != daemon.node)
        ends = [daemon.view.sightings[node].at + lease.duration for node, lease in others if not lease.ended]
        until = min(ends, default=holder.lease_until)
        self._steady = _Steady(daemon.view.lease_news, self._promises, holder.since_revision, until)
        return self._steady if now < until else None

    def fresh_until(self) -> float | None:
        """Give the moment on CLOCK_BOOTTIME until which no lease of another node falls silent; None: one has."""
        daemon = self._daemon
        leases, sightings, now = daemon.view.snapshot.leases, daemon.view.sightings, daemon.machine.clock.boottime()
        ends = [
            sightings[node].at + lease.value.duration
            for node, lease in leases.items()
            if not lease.value.ended and node != daemon.node
        ]
        until = min(ends, default=daemon.keeper.holder().lease_until)
        return until if now < until else None

    def answer(self, request: promise.Request) -> promise.Answer:
        """Promise, or refuse to."""
        daemon = self._daemon
        situation = promise.Situation(daemon.keeper.is_writable, self._ended_incarnation(request.node))
        self._promises, answer = self._promises.answer(request, situation, daemon.machine.clock.boottime())
        return answer

    def _ended_incarnation(self, node: NodeId) -> str:
        lease, ending = self._daemon.view.snapshot.leases.get(node), self._ending.get(node)
        if lease is not None and lease.value.ended:
            return lease.value.incarnation
        return "" if ending is None else ending[0]

    def _on_view(self) -> None:
        if self._daemon.view.is_of_groups:
            return  # no node has changed
        leases = self._daemon.view.snapshot.leases
        for node, (_, revision) in tuple(self._ending.items()):
            lease = leases.get(node)
            if lease is None or (lease.revision != revision and not lease.value.ended):
                del self._ending[node]
        self._look()

    def _look(self) -> None:
        states = {node: self.node_state(node) for node in self._daemon.view.snapshot.nodes}
        if states != self._states:
            self._states = states
            self.on_change()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._daemon.life.later(self._pause(), self._look, routine=True)

    def _pause(self) -> float:
        """Seconds until time alone may change the state of a node."""
        daemon = self._daemon
        now = daemon.machine.clock.boottime()
        ends = [daemon.keeper.holder().lease_until]
        for node, lease in daemon.view.snapshot.leases.items():
            sighting = daemon.view.sightings.get(node)
            if sighting is not None:
                ends.append(sighting.at + lease.value.duration + MARGIN)
        return max(SHORTEST, min((end - now + 0.001 for end in ends if end > now), default=LOOK))

    @property
    def states(self) -> dict[NodeId, NodeState]:
        """The states of all nodes when they were looked at last."""
        return self._states


class PromiseExchange:
    """Asks the others for promises while the database is silent."""

    def __init__(self, daemon: "Daemon") -> None:
        """Ask nobody until `start`."""
        self._daemon = daemon
        self._asker = daemon.world.brains.asker()
        self._timer: Timer | None = None

    def start(self) -> None:
        """Look whether promises are needed, from now on."""
        self._look()

    def _look(self) -> None:
        daemon = self._daemon
        now = daemon.machine.clock.boottime()
        holder, asker = daemon.keeper.holder(), self._asker
        if holder.answered is not None and asker.phase is promise.Phase.QUIET and not asker.said:
            due = holder.answered.at + promise.SILENT_DELAYS * holder.delay
            if now < due and asker.again <= due and now < holder.deadline:
                self._look_at(due)  # as it would say itself
                return
        snapshot = daemon.view.snapshot
        others = frozenset(snapshot.nodes) - {daemon.node}
        leases = snapshot.leases
        look = promise.Look(
            since=None if holder.answered is None else holder.answered.at,
            deadline=holder.deadline,
            delay=holder.delay,
            period=holder.period,
            nodes=frozenset(node for node in others if node in leases and not leases[node].value.ended),
            configured=others,
        )
        self._post(look, now)

    def _post(self, event: promise.AskerEvent, now: float) -> None:
        step = self._asker.step(event, now)
        self._asker = step.state
        for effect in step.effects:
            match effect:
                case promise.Ask(round_, nodes, period):
                    for node in sorted(nodes):
                        self._daemon.life.spawn(self._ask(round_, node, period), "asking for a promise")
                case promise.GoOn(sent, period, capped):
                    self._daemon.keeper.promised(sent, period, capped=capped)
                case promise.LookAgain(at):
                    self._look_at(at)
                case promise.Say(sentence):
                    self._daemon.say(Kind.SAY, sentence)
                case _:
                    raise AssertionError(f"the asker's brain asks for {effect!r}, which has no hand")

    def _look_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        seconds = self._daemon.machine.clock.seconds_until(at) + EPSILON
        self._timer = self._daemon.life.later(max(SHORTEST, seconds), self._look, routine=True)

    async def _ask(self, round_: int, node: NodeId, period: float) -> None:
        daemon = self._daemon
        request = promise.Request(daemon.node, daemon.keeper.incarnation, period)
        try:
            answer = await daemon.call(node, "promise", request, ASK_TIMEOUT)
            granted = promise.Granted(round_, node)
            event = granted if answer.granted else promise.NotGranted(round_, node, answer.sentence)
        except ClusterError as error:
            event = promise.NotGranted(round_, node, error.sentence)
        self._post(event, daemon.machine.clock.boottime())
