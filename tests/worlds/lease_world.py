"""A small world for the brains of leases: nodes with clocks of their own, a store, a network, guards, and faults.

The brains that decide in production decide here (`cluster/lease.py`, `promise.py`, `observer.py`); the world carries
out their effects, slowly, late, or not at all. True time runs in `World.now`; no node knows it. A guard kills what runs
on its node exactly LATENESS after the deadline that it was told, whatever became of the daemon.

The laws are those of DESIGN.md §4, and look at guards and at what runs, not at what brains say of themselves:

- nobody ends a node's lease, nor takes its group, before that node's guard has acted on the deadline that it has;
- a deadline is never put into the future again while the lease is ended as a fact of the database;
- no group runs twice.
"""

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from quorate.clusapi.identity import NodeId
from quorate.cluster import lease_events as e
from quorate.cluster import observer, promise
from quorate.cluster.lease import Holder
from quorate.cluster.lease_events import LeaseRecord, Terms
from quorate.cluster.promise import Asker, Promises

LATENESS = 0.1
"""Seconds by which the guard is late at most; here it always is."""
DRIFT = 0.02
"""Far more than clocks do: the margins must cover it (3 s x 2 x 0.02 + 0.1 < 0.5; 10 s x 2 x 0.02 + 0.1 < 1.0)."""
CALL_TIMEOUT = 1.2
"""Seconds after which a call to the store counts as unanswered."""
ASK_TIMEOUT = 0.8
TERMS = Terms(delay=1.0, duration=3.0, resilience=4.0)

Refusal = tuple[bool, LeaseRecord | None, int]


class Violation(AssertionError):
    """A law was broken."""


@dataclass(frozen=True, slots=True)
class Snap:
    """The database at one revision."""

    revision: int
    leases: Mapping[NodeId, tuple[LeaseRecord, int]]
    admissions: Mapping[NodeId, int]
    groups: Mapping[str, tuple[NodeId, int]]
    """Who holds it, and at which revision that was written."""
    terms: Terms


@dataclass(eq=False)
class Daemon:
    """One life of a node's daemon."""

    node: "Node"
    holder: Holder
    started: float
    view: Snap | None = None
    asker: Asker = field(default_factory=Asker)
    promises: Promises = field(default_factory=Promises)
    sightings: observer.Sightings = field(default_factory=observer.Sightings)
    ending: dict[NodeId, str] = field(default_factory=dict)
    dead: bool = False
    busy: set[str] = field(default_factory=set)
    """What it is about to end or to take, so that it does so once at a time."""
    looks: int = 0
    """How often it was told when to look whether it needs promises; only the last one counts."""
    waiting: bool = False
    """A snapshot is on its way."""


@dataclass(eq=False)
class Node:
    """A machine of the cluster."""

    id: NodeId
    rate: float
    booted: float = 0.0
    on: bool = True
    paused: bool = False
    """SIGSTOP: whatever reaches the daemon waits; its guard does not."""
    daemon: Daemon | None = None
    stalled: list[Callable[[], None]] = field(default_factory=list)
    deadline: float = 0.0
    """What the guard was told, on the node's clock; 0: nothing since the machine was started."""
    running: set[str] = field(default_factory=set)
    store: str = "ok"
    """ok; lost: nothing arrives; silent: it is lost, or lands late; mute: it lands, and nobody hears of it; slow."""
    watch: bool = True
    silences: int = 0
    """How often the database fell silent for it; the end of an earlier time is not that of a later one."""
    doomed: bool = False
    """It stays off when everything else is healed."""
    killed: int = 0
    """How often the guard found something to kill."""

    @property
    def group(self) -> str:
        return f"g{self.id}"


class World:
    """A few nodes and what happens to them."""

    def __init__(self, seed: int, nodes: int | None = None, *, rng: random.Random | None = None) -> None:
        self.rng = rng or random.Random(seed)
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.trace: list[str] = []
        self.cuts: set[frozenset[NodeId]] = set()
        self.loss = 0.0
        self.slow_net = False
        self.healed = False
        self.lateness = 12.0
        """Seconds after which a call that was lost may still land."""
        self.lives = 0
        self.ended: list[tuple[float, NodeId, NodeId]] = []
        """When, whose lease, by whom."""
        self.nodes: dict[NodeId, Node] = {}
        self.snap = Snap(0, {}, {}, {}, TERMS)
        for _ in range(nodes or self.rng.choice((2, 3, 3, 4))):
            self.admit()

    # --- time ------------------------------------------------------------------------------------------------------

    def say(self, line: str) -> None:
        self.trace.append(f"{self.now:8.3f} {line}")

    def later(self, delay: float, act: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.now + delay, self.count, act))

    def run(self, until: float, stop: Callable[[], bool] | None = None) -> bool:
        """Let happen what is due until then, or until `stop`; True if it stopped early."""
        while self.heap and self.heap[0][0] <= until:
            self.now, _, act = heapq.heappop(self.heap)
            act()
            if stop is not None and stop():
                return True
        self.now = until
        return False

    def clock(self, node: Node) -> float:
        """CLOCK_BOOTTIME of a node."""
        return 1.0 + (self.now - node.booted) * node.rate

    def true_delay(self, node: Node, until: float) -> float:
        """True seconds until a node's clock shows this."""
        return (until - self.clock(node)) / node.rate

    def of(self, daemon: Daemon, act: Callable[[], None]) -> Callable[[], None]:
        """Something that reaches a daemon: not when it is dead, and later when it is stopped."""

        def reach() -> None:
            if daemon.dead:
                return
            if daemon.node.paused:
                daemon.node.stalled.append(reach)
                return
            act()

        return reach

    # --- machines, daemons -----------------------------------------------------------------------------------------

    def admit(self) -> Node:
        """Let a new node into the cluster, with a group of its own that runs there."""
        node = Node(NodeId(str(len(self.nodes) + 1)), 1.0 + self.rng.choice((-1, 1)) * DRIFT, self.now - 5.0)
        self.nodes[node.id] = node
        revision = self.snap.revision + 1
        admissions = {**self.snap.admissions, node.id: revision}
        groups = {**self.snap.groups, node.group: (node.id, revision)}
        self.commit(replace(self.snap, revision=revision, admissions=admissions, groups=groups))
        self.say(f"node {node.id} is admitted")
        self.start_daemon(node)
        return node

    def start_daemon(self, node: Node) -> None:
        """Start a daemon where there is none: it reads the database first, then begins to renew its lease."""
        if not node.on or node.daemon is not None:
            return
        self.lives += 1
        holder = Holder(f"i{self.lives}", over=node.deadline)
        daemon = node.daemon = Daemon(node, holder, self.clock(node))
        self.say(f"node {node.id}: daemon {holder.base} starts")
        self.open(daemon)

    def open(self, daemon: Daemon) -> None:
        """Wait for the first view; without the database no daemon comes up."""
        if daemon.dead:
            return
        if daemon.node.store != "ok" or not daemon.node.watch:
            self.later(0.3, self.of(daemon, lambda: self.open(daemon)))
            return
        self.take_view(daemon, self.snap)
        self.due(daemon)
        self.look(daemon)
        self.decide(daemon)

    def kill_daemon(self, node: Node) -> None:
        if node.daemon is not None:
            self.say(f"node {node.id}: daemon {node.daemon.holder.base} is killed")
            node.daemon.dead = True
            node.daemon = None
            node.paused = False
            node.stalled.clear()

    def pause_daemon(self, node: Node) -> None:
        if node.daemon is not None and not node.paused:
            self.say(f"node {node.id}: daemon is stopped")
            node.paused = True

    def resume_daemon(self, node: Node) -> None:
        if node.paused:
            self.say(f"node {node.id}: daemon goes on")
            node.paused = False
            stalled, node.stalled = node.stalled, []
            for act in stalled:
                act()

    def crash(self, node: Node) -> None:
        """Switch a machine off: everything on it is gone at once."""
        self.kill_daemon(node)
        self.say(f"node {node.id}: machine is off")
        node.on, node.deadline = False, 0.0
        node.running.clear()

    def boot(self, node: Node) -> None:
        if not node.on and not node.doomed:
            self.say(f"node {node.id}: machine boots")
            node.on, node.booted = True, self.now
            self.start_daemon(node)

    # --- the guard -------------------------------------------------------------------------------------------------

    def tell_guard(self, node: Node, deadline: float) -> None:
        """The daemon hands over a deadline."""
        node.deadline = deadline
        record = self.snap.leases.get(node.id)
        if deadline > self.clock(node) and record is not None and record[0].ended:
            raise Violation(f"node {node.id} goes on until {deadline:.3f} though its lease is ended")
        self.later(max(0.0, self.true_delay(node, deadline)) + LATENESS, lambda: self.guard(node))

    def guard(self, node: Node) -> None:
        if node.on and node.deadline <= self.clock(node) and node.running:
            self.say(f"node {node.id}: the guard kills {sorted(node.running)}")
            node.killed += 1
            node.running.clear()

    def check_over(self, node: Node, what: str) -> None:
        """The law: the guard of that node has acted by now, on the deadline that it has."""
        if node.on and self.true_delay(node, node.deadline) + LATENESS > 1e-9 and node.deadline > 0:
            left = self.true_delay(node, node.deadline)
            raise Violation(f"{what}, and its guard acts {LATENESS:g} s after a deadline that is {left:.3f} s away")

    # --- the store -------------------------------------------------------------------------------------------------

    def commit(self, snap: Snap) -> None:
        self.snap = snap
        for node in self.nodes.values():
            if node.daemon is not None and node.daemon.view is not None:
                self.send_view(node.daemon)

    def send_view(self, daemon: Daemon) -> None:
        if daemon.waiting or not daemon.node.watch:
            return
        daemon.waiting = True
        snap = self.snap
        lag = self.rng.choice((0.005, 0.02, 0.05, 0.4))

        def deliver() -> None:
            daemon.waiting = False
            if daemon.dead or not daemon.node.watch:
                return
            self.of(daemon, lambda: self.take_view(daemon, snap))()
            if self.snap.revision > snap.revision:
                self.send_view(daemon)

        self.later(lag, deliver)

    def call(
        self,
        daemon: Daemon,
        act: Callable[[], Refusal],
        answered: Callable[[Refusal], None],
        silent: Callable[[], None],
    ) -> None:
        """Call the store: `act` happens there, once, late, or never; then one of the two is called here."""
        open_ = [True]

        def give_up() -> None:
            if open_[0]:
                open_[0] = False
                silent()

        self.later(CALL_TIMEOUT, self.of(daemon, give_up))
        mode = daemon.node.store

        def arrive() -> None:
            now_mode = daemon.node.store
            if "lost" in (mode, now_mode):
                return
            if "silent" in (mode, now_mode):
                if self.rng.random() < 0.5:
                    self.later(self.rng.random() * self.lateness, lambda: self.land_late(act))
                return
            if self.rng.random() < 0.05:
                act()  # the store's client heard no answer and sent it again: the second one is refused by the first
            result = act()
            if "mute" in (mode, now_mode):
                return

            def hear() -> None:
                if open_[0]:
                    open_[0] = False
                    answered(result)

            self.later(self._latency(now_mode), self.of(daemon, hear))

        self.later(self._latency(mode), arrive)

    def land_late(self, act: Callable[[], Refusal]) -> None:
        """A call that was lost reaches the store after all; whoever made it has long gone on."""
        if not self.healed:
            act()

    def _latency(self, mode: str) -> float:
        return self.rng.random() * (0.9 if mode == "slow" else 0.01)

    def write_lease(self, node: Node, record: LeaseRecord, expected: int) -> Refusal:
        stands = self.snap.leases.get(node.id)
        if (0 if stands is None else stands[1]) != expected:
            return (False, *(stands or (None, 0)))
        revision = self.snap.revision + 1
        self.commit(replace(self.snap, revision=revision, leases={**self.snap.leases, node.id: (record, revision)}))
        return True, record, revision

    def end_lease(self, by: Node, of: NodeId, expected: int, fenced: bool) -> Refusal:
        record, stands = self.snap.leases[of]
        if stands != expected:
            return False, record, stands
        self.say(f"node {by.id} ends the lease of node {of}{', which is fenced' if fenced else ''}")
        self.check_over(self.nodes[of], f"node {by.id} ends the lease of node {of}")
        self.ended.append((self.now, of, by.id))
        revision = self.snap.revision + 1
        ended = replace(record, ended=True)
        self.commit(replace(self.snap, revision=revision, leases={**self.snap.leases, of: (ended, revision)}))
        return True, ended, revision

    def write_group(self, by: Node, group: str, expected: int, dead: NodeId | None, lease_revision: int) -> Refusal:
        holder, stands = self.snap.groups[group]
        if stands != expected or (dead is not None and self.snap.leases[dead][1] != lease_revision):
            return False, None, stands
        if holder != by.id:
            self.say(f"node {by.id} takes {group} from node {holder}")
            self.check_over(self.nodes[holder], f"node {by.id} takes {group} from node {holder}")
        revision = self.snap.revision + 1
        self.commit(replace(self.snap, revision=revision, groups={**self.snap.groups, group: (by.id, revision)}))
        return True, None, revision

    # --- a daemon: its view and its lease --------------------------------------------------------------------------

    def take_view(self, daemon: Daemon, snap: Snap) -> None:
        if daemon.view is None or snap.revision > daemon.view.revision:
            daemon.view = snap
            revisions = {node: revision for node, (_, revision) in snap.leases.items()}
            daemon.sightings = daemon.sightings.seen(revisions, self.clock(daemon.node))

    def due(self, daemon: Daemon) -> None:
        assert daemon.view is not None
        event = e.Due(daemon.view.terms, daemon.view.revision, is_member=daemon.node.id in daemon.view.admissions)
        if self.rng.random() < 0.1:  # the thread was held up between its look at the view and its clock
            self.later(self.rng.random() * 0.3, self.of(daemon, lambda: self.step(daemon, event)))
        else:
            self.step(daemon, event)

    def step(self, daemon: Daemon, event: e.Event) -> None:
        step = daemon.holder.step(event, self.clock(daemon.node))
        daemon.holder = step.state
        for effect in step.effects:
            match effect:
                case e.KeepUntil(deadline):
                    self.tell_guard(daemon.node, deadline)
                case e.Read():
                    self._read(daemon)
                case e.Send(record, expected):
                    self._send(daemon, record, expected)
                case e.Pause(seconds):
                    self.later(seconds / daemon.node.rate, self.of(daemon, lambda: self.due(daemon)))
                case e.Say(sentence):
                    self.say(f"node {daemon.node.id}: {sentence}")

    def _read(self, daemon: Daemon) -> None:
        def act() -> Refusal:
            return (True, *(self.snap.leases.get(daemon.node.id) or (None, 0)))

        self.call(
            daemon,
            act,
            lambda result: self.step(daemon, e.Found(result[1], result[2])),
            lambda: self.step(daemon, e.Unanswered()),
        )

    def _send(self, daemon: Daemon, record: LeaseRecord, expected: int) -> None:
        def answered(result: Refusal) -> None:
            landed, stands, revision = result
            self.step(daemon, e.Answered(revision) if landed else e.Refused(stands, revision))

        self.call(
            daemon,
            lambda: self.write_lease(daemon.node, record, expected),
            answered,
            lambda: self.step(daemon, e.Unanswered()),
        )

    # --- a daemon: promises ----------------------------------------------------------------------------------------

    def look(self, daemon: Daemon) -> None:
        """Ask for promises where they are needed. The clock is read first, the view after it."""
        now = self.clock(daemon.node)
        holder = daemon.holder.noticed(now)
        assert daemon.view is not None
        others = frozenset(daemon.view.admissions) - {daemon.node.id}
        nodes = frozenset(
            node for node, (record, _) in daemon.view.leases.items() if node in others and not record.ended
        )
        since = None if holder.answered is None else holder.answered.at
        event = promise.Look(since, holder.deadline, holder.delay, holder.period, nodes, others)
        self.ask_step(daemon, event, now)

    def ask_step(self, daemon: Daemon, event: promise.AskerEvent, now: float) -> None:
        step = daemon.asker.step(event, now)
        daemon.asker = step.state
        for effect in step.effects:
            match effect:
                case promise.Ask(round_, nodes, period):
                    for node in sorted(nodes):
                        self._ask(daemon, node, round_, period)
                case promise.GoOn(sent, period, capped):
                    self.step(daemon, e.Promised(sent, period, capped))
                case promise.LookAgain(at):
                    self._look_at(daemon, at)
                case promise.Say(sentence):
                    self.say(f"node {daemon.node.id}: {sentence}")

    def _look_at(self, daemon: Daemon, at: float) -> None:
        daemon.looks += 1
        nth = daemon.looks
        look = self.of(daemon, lambda: self.look(daemon) if daemon.looks == nth else None)
        self.later(max(0.01, self.true_delay(daemon.node, at)), look)

    def _ask(self, daemon: Daemon, peer: NodeId, round_: int, period: float) -> None:
        request = promise.Request(daemon.node.id, daemon.holder.incarnation, period)
        open_ = [True]

        def conclude(event: promise.AskerEvent) -> None:
            if open_[0]:
                open_[0] = False
                self.ask_step(daemon, event, self.clock(daemon.node))

        def reply(answer: promise.Answer) -> None:
            granted = promise.Granted(round_, peer)
            event = granted if answer.granted else promise.NotGranted(round_, peer, answer.sentence)
            self.post(peer, daemon.node.id, self.of(daemon, lambda: conclude(event)))

        def receive() -> None:
            there = self.nodes[peer].daemon
            if there is not None and there.view is not None:
                self.of(there, lambda: reply(self._promise(there, request)))()

        timeout = promise.NotGranted(round_, peer, "no answer")
        self.later(ASK_TIMEOUT, self.of(daemon, lambda: conclude(timeout)))
        self.post(daemon.node.id, peer, receive)

    def post(self, sender: NodeId, receiver: NodeId, act: Callable[[], None]) -> None:
        """Carry a message, or lose it."""
        if frozenset((sender, receiver)) in self.cuts or self.rng.random() < self.loss:
            return
        self.later(self.rng.random() * (0.5 if self.slow_net else 0.01), act)

    def _promise(self, daemon: Daemon, request: promise.Request) -> promise.Answer:
        assert daemon.view is not None
        now = self.clock(daemon.node)
        stands = daemon.view.leases.get(request.node)
        ended = daemon.ending.get(request.node, "")
        if stands is not None and stands[0].ended:
            ended = stands[0].incarnation
        situation = promise.Situation(daemon.holder.noticed(now).is_writable(now), ended)
        daemon.promises, answer = daemon.promises.answer(request, situation, now)
        return answer

    # --- a daemon: ending, taking and starting -----------------------------------------------------------------------

    def judge(self, daemon: Daemon, node: NodeId, *, fenced: bool = False) -> observer.EndVerdict:
        """Ask the brain whether this daemon may end a lease."""
        assert daemon.view is not None
        now = self.clock(daemon.node)
        daemon.holder = daemon.holder.noticed(now)
        record, revision = daemon.view.leases[node]
        subject = observer.Subject(f"node {node}", record, revision, daemon.sightings.of[node].at)
        judge = observer.Judge(
            is_held=daemon.holder.is_held(now),
            since_revision=daemon.holder.since_revision,
            admitted=daemon.view.admissions.get(daemon.node.id),
            started=daemon.started,
            promised_until=daemon.promises.outstanding(node, now),
            held_since=daemon.holder.held_since,
        )
        return observer.may_end(subject, judge, now, fenced=fenced)

    def decide(self, daemon: Daemon) -> None:
        """End what may be ended, start what this node may start; again soon, or at the very moment that it may more."""
        if daemon.view is None:
            return
        now = self.clock(daemon.node)
        again = now + 0.3 + self.rng.random() * 0.4
        for node, (record, _) in daemon.view.leases.items():
            if node != daemon.node.id and node not in daemon.busy and not record.ended:
                verdict = self.judge(daemon, node)
                if verdict.allowed:
                    self.end(daemon, node)
                elif verdict.at is not None:
                    again = min(again, max(verdict.at, now + 0.01))
        if daemon.holder.noticed(now).is_held(now):
            self.start_groups(daemon)
        self.later(self.true_delay(daemon.node, again) + 1e-6, self.of(daemon, lambda: self.decide(daemon)))

    def start_groups(self, daemon: Daemon) -> None:
        assert daemon.view is not None
        for group, (holder, revision) in daemon.view.groups.items():
            if group in daemon.busy or group in daemon.node.running:
                continue
            if holder == daemon.node.id:
                self.start_group(daemon, group, revision, None, 0)
                continue
            record, lease_revision = daemon.view.leases.get(holder, (None, 0))
            if record is not None and record.ended:
                self.start_group(daemon, group, revision, holder, lease_revision)

    def end(self, daemon: Daemon, node: NodeId, *, fenced: bool = False) -> None:
        assert daemon.view is not None
        record, revision = daemon.view.leases[node]
        daemon.ending[node] = record.incarnation
        daemon.busy.add(node)
        done = lambda *_: daemon.busy.discard(node)  # noqa: E731
        self.call(daemon, lambda: self.end_lease(daemon.node, node, revision, fenced), done, done)

    def start_group(self, daemon: Daemon, group: str, revision: int, dead: NodeId | None, lease_revision: int) -> None:
        """Start a group by a write of one's own, under one incarnation of a held lease (R1, R2)."""
        incarnation = daemon.holder.incarnation
        daemon.busy.add(group)

        def answered(result: Refusal) -> None:
            daemon.busy.discard(group)
            now = self.clock(daemon.node)
            daemon.holder = daemon.holder.noticed(now)
            if result[0] and daemon.holder.is_held(now) and daemon.holder.incarnation == incarnation:
                self.start(daemon.node, group)

        self.call(
            daemon,
            lambda: self.write_group(daemon.node, group, revision, dead, lease_revision),
            answered,
            lambda: daemon.busy.discard(group),
        )

    def start(self, node: Node, group: str) -> None:
        node.running.add(group)
        twice = [other.id for other in self.nodes.values() if group in other.running]
        if len(twice) > 1:
            raise Violation(f"{group} runs on nodes {twice}")
        if node.deadline <= self.clock(node):
            self.later(LATENESS, lambda: self.guard(node))
