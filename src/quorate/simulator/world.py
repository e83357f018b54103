"""A whole cluster that is not there: its machines, networks, database and people, and what happens to them.

`run` plays a setup and the steps that are taken in it, by a seed, and says what came of it. The laws are watched after
every event (`laws.py`). When the steps are over the world is healed, and after a stated time all must be well
(`ending.py`).
"""

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from quorate.clusapi.identity import GroupId, ImageId, NodeId, SessionId
from quorate.clusapi.states import NodeState, ResourceState
from quorate.database.holders import Holders
from quorate.engine.group_pictures import GroupPictures
from quorate.hypervisor.guest_model import GuestModel
from quorate.simulator import steps as s
from quorate.simulator.brains import PRODUCTION, Brains, Hand
from quorate.simulator.daemon import Daemon
from quorate.simulator.dice import Dice
from quorate.simulator.ending import bound_of, missing
from quorate.simulator.faults import Faults
from quorate.simulator.founding import Guest, add_node, facts_of, found
from quorate.simulator.kernel import EPSILON, Kernel
from quorate.simulator.laws import Broken, Laws, Violation
from quorate.simulator.links import Links
from quorate.simulator.machine import LATENESS, Machine
from quorate.simulator.network import Network
from quorate.simulator.news import News
from quorate.simulator.people import People
from quorate.simulator.qemu import Qemu
from quorate.simulator.qemu import Run as QemuRun
from quorate.simulator.setup import NodeSetup, Setup
from quorate.simulator.stillness import pass_still_time
from quorate.simulator.store import Commit, SharedStore, Way
from quorate.simulator.trace import Counts, Kind, Line, Trace
from quorate.simulator.view import View

DISK: Final = 1e9
"""Bytes per second at which memory is written to files, and read from them."""
LOOK: Final = 0.83
"""Seconds between two looks at whether the world is still; out of step with renewals, lest each look meets one."""
LOOK_AGAIN: Final = 0.1
"""Seconds that are played after some were let pass."""
BOOTED: Final = 60.0
"""Seconds for which a machine has been on that joins later."""
START_WITHIN: Final = 2.0
"""Seconds within which the daemons of a new world are started."""
INHERITED: Final = 10.0
"""Seconds for which guests may run that are there before the daemons are."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a world is played."""

    trace: bool = False
    """Keep lines of what happens."""
    settle: bool = True
    """Heal the world at the end, and see whether all becomes well."""
    bound: float | None = None
    """Seconds for that; None: as the setup says."""
    fast_forward: bool = True
    """Let time pass at once in which nothing but renewed leases happens."""


@dataclass(frozen=True, slots=True)
class VmFinal:
    """What became of a virtual machine."""

    holder: str
    epoch: int
    runs_on: str | None
    wanted: bool
    state: ResourceState
    sentence: str


@dataclass(frozen=True, slots=True)
class WorldFinal:
    """The world at its end, by the names of its objects."""

    vms: dict[str, VmFinal] = field(default_factory=dict)
    nodes: dict[str, NodeState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a world."""

    seed: int
    ended_at: float
    events: int
    counts: Counts
    violation: Violation | None
    final: WorldFinal
    trace: tuple[Line, ...] = ()
    settled_in: float | None = None
    """Seconds after which all was well once the world was healed."""


def run(
    setup: Setup,
    steps: Sequence[s.Step],
    seed: int,
    until: float,
    *,
    brains: Brains = PRODUCTION,
    options: Options = Options(),
) -> Run:
    """Play a world until then; a violation of the laws ends it."""
    world = World(setup, seed, brains, options)
    enabled = gc.isenabled()
    gc.disable()  # what is made here is forgotten in one go, and looking for it costs a tenth
    try:
        return world.play(steps, until)
    finally:
        world.end()
        if enabled:
            gc.enable()


class World:
    """The world while it goes on."""

    is_calm = False
    """Nobody freezes, nobody's word is given for a node: looks at nodes of which nothing is new need not be made."""

    def __init__(self, setup: Setup, seed: int, brains: Brains, options: Options) -> None:
        """Build it: every machine is on, no daemon has been started."""
        self.setup = setup
        self.seed = seed
        self.brains = brains
        self.options = options
        self.kernel = Kernel(seed)
        self.dice = Dice(seed, "world")
        self.trace = Trace(lambda: self.kernel.now, options.trace)
        self.counts = Counts()
        self.machines: dict[NodeId, Machine] = {}
        self.store = SharedStore()
        self.group_pictures = GroupPictures()
        """They depend on snapshots alone, and everybody sees the same ones."""
        self.holders = Holders()
        """Likewise."""
        self.news = News()
        founded = found(self.store.data, setup)
        self._nodes, self._groups = founded.nodes, founded.groups
        self._names: dict[str, str] = {id_: name for name, id_ in (*self._nodes.items(), *self._groups.items())}
        self.laws = Laws(self.kernel, self.machines, self.name_of, self.trace)
        self.network = Network(self.kernel, self.machines, Dice(seed, "network"))
        self.links = Links(self.kernel, self.network.is_memory_cut)
        self._guests = {
            self._groups[vm.name]: GuestModel(
                vm.memory, vm.memory - (vm.memory if vm.used is None else vm.used), vm.working_set, vm.dirty
            )
            for vm in setup.vms
        }
        for node in setup.nodes:
            self._add_machine(self._nodes[node.name], node)
        self._views: dict[NodeId, View] = {}
        self.store.on_change = self.laws.on_change
        self.store.on_commit = self._on_commit
        for record in self.store.data.range(("private/ownership/",), 0).records:
            self.laws.take_record(record.key, record.value)
        self.store.open()
        self._names.update({str(group.id): group.name for group in self.store.head().groups.values()})
        self.people = People(self)
        self.faults = Faults(self)
        self.failing_loads: set[GroupId] = set()
        self.may_post_copy = frozenset(founded.groups[vm.name] for vm in setup.vms if vm.post_copy)
        """The virtual machines whose policy allows it."""
        self._confirmed_off: set[NodeId] = set()
        self._images = self._sessions = self._bases = self._uris = 0
        self._listening: dict[str, Qemu] = {}
        self._waiting: list[tuple[s.On, s.Action]] = []
        self._entered: dict[tuple[GroupId, str, str], int] = {}
        self._hand_overs: dict[GroupId, bool] = {}
        self.is_healed = False
        self._place_guests(founded.guests)

    def _place_guests(self, guests: Sequence[Guest]) -> None:
        """Let run what runs from the beginning; its guards know of a daemon that has just ended."""
        for guest in guests:
            machine = self.machines[guest.node]
            machine.guard.deadline = machine.clock.boottime() + INHERITED
            qemu = Qemu(machine, self.links, self.laws, guest.group, guest.vm_id, guest.image, QemuRun.PAUSED)
            self.fit_out(qemu)
            qemu.cont()

    def _add_machine(self, node: NodeId, setup: NodeSetup) -> Machine:
        way = Way(self.kernel, Dice(self.seed, f"database {node}"))
        machine = Machine(self.kernel, node, setup, way, Dice(self.seed, f"machine {node}"))
        machine.on_guard_kill = self._on_guard_kill
        machine.guard.acts = Hand.GUARD not in self.brains.weaknesses
        machine.guard.ends_standing = Hand.GUARD_OF_STANDING not in self.brains.weaknesses
        machine.guard.on_deadline = self._watch_deadline(machine)
        self.machines[node] = machine
        return machine

    # --- names -------------------------------------------------------------------------------------------------------

    def name_of(self, id_: object) -> str:
        """Give the name of a node or a group."""
        return self._names.get(str(id_), str(id_))

    def node_called(self, name: str) -> NodeId:
        """Find a node."""
        return self._nodes[name]

    def group_called(self, name: str) -> GroupId:
        """Find the group of a virtual machine."""
        return self._groups[name]

    def machine_called(self, name: str) -> Machine:
        """Find a machine."""
        return self.machines[self._nodes[name]]

    # --- what daemons ask of the world -------------------------------------------------------------------------------

    def new_base(self, node: NodeId) -> str:
        """Make an id that no other daemon has."""
        self._bases += 1
        return f"d{self._bases}"

    def new_image(self) -> ImageId:
        """Make the id of a memory image."""
        self._images += 1
        return ImageId(f"m{self._images}")

    def new_session(self) -> SessionId:
        """Make the id of a migration."""
        self._sessions += 1
        return SessionId(f"s{self._sessions}")

    def memory_of(self, group: GroupId) -> int:
        """Bytes that a virtual machine commits."""
        guest = self._guests.get(group)
        return 0 if guest is None else guest.memory

    def fit_out(self, qemu: Qemu) -> None:
        """Give a new QEMU its guest, and what is wrong with it."""
        qemu.guest = self._guests[qemu.group]
        qemu.switches_over = Hand.SWITCHOVER_ACK in self.brains.weaknesses
        if qemu.run is QemuRun.INMIGRATE and qemu.group in self.failing_loads:
            self.failing_loads.discard(qemu.group)
            qemu.fails_to_load = True

    def disk_seconds(self, guest: GuestModel) -> float:
        """How long it takes to write a guest's memory to a file, or to read it."""
        return (guest.memory - guest.zero) / DISK

    def listen(self, qemu: Qemu) -> str:
        """Give an arriving QEMU an address."""
        self._uris += 1
        uri = f"virtual:{self._uris}"
        self._listening[uri] = qemu
        return uri

    def listening(self, uri: str) -> Qemu | None:
        """Find who listens at an address."""
        qemu = self._listening.get(uri)
        return None if qemu is None or qemu.is_gone else qemu

    def is_confirmed_off(self, node: NodeId) -> bool:
        """Tell whether a person has said that a machine is off."""
        return node in self._confirmed_off

    def confirm_off(self, node: NodeId) -> None:
        """A person says that a machine is off; people here say so only when it is."""
        if not self.machines[node].is_on:
            self._confirmed_off.add(node)
            for machine in self.machines.values():
                if machine.daemon is not None and machine.daemon.has_started:
                    machine.daemon.life.reach(machine.daemon.coordination.look_soon)

    def set_dirty(self, group: GroupId, rate: float) -> None:
        """A guest writes faster or slower from now on."""
        guest = self._guests[group] = replace(self._guests[group], dirty_bytes_per_second=rate)
        for machine in self.machines.values():
            for qemu in machine.qemus:
                if qemu.group == group:
                    qemu.change_guest(guest)

    def bandwidth_of(self, name: str) -> float:
        """What a node's link carries as a rule."""
        return next(one.bandwidth for one in self.setup.nodes if one.name == name)

    # --- daemons and views -------------------------------------------------------------------------------------------

    def start_daemon(self, machine: Machine) -> None:
        """Start a daemon where there is none."""
        if machine.has_left:
            return
        if machine.is_suspended:
            machine.on_wake.append(lambda: self.start_daemon(machine))
        elif machine.is_on and machine.daemon is None:
            self._confirmed_off.discard(machine.node)
            machine.daemon = Daemon(self, machine)

    def add_view(self, machine: Machine, view: View) -> None:
        """Feed a daemon's view from now on, in place of an earlier daemon's."""
        self._views[machine.node] = view
        machine.way.on_news = view.begin_anew

    def drop_view(self, machine: Machine) -> None:
        """Feed the view of a node no more: it has left."""
        self._views.pop(machine.node, None)
        machine.way.on_news = _nothing

    def admit(self, name: str) -> None:
        """Have a new machine join under a name, as a person does who tries until it is done.

        The one that had the name is switched off before, whatever is on it. Raises CallerError when it is a node yet.
        """
        setup = next(one for one in self.setup.nodes if one.name == name)
        node = add_node(self.store, name)
        old = self.machine_called(name)
        old.lose_power()
        old.has_left = True
        self.drop_view(old)
        self.links.share_anew()
        self.store.transact((), (facts_of(node, setup),))
        self._nodes[name], self._names[node] = node, name
        machine = self._add_machine(node, replace(setup, booted=BOOTED))
        self.start_daemon(machine)

    def _on_commit(self, commit: Commit) -> None:
        if self.is_calm:
            self.news.add(self.kernel.now, commit, self._views.values())
            if not commit.is_news:
                return
        for view in self._views.values():
            view.offer(commit)

    def _on_guard_kill(self, number: int) -> None:
        self.counts.guard_kills += number

    def _watch_deadline(self, machine: Machine) -> Callable[[float], None]:
        """See to it that the laws look when a deadline has passed by more than a guard may be late."""
        watching: list[float] = []

        def look() -> None:
            watching.clear()
            if not machine.is_on or machine.is_suspended or machine.guard.deadline == 0.0:
                return
            late = machine.guard.lateness
            over = machine.clock.seconds_until(machine.guard.deadline) + late
            if over > EPSILON and not math.isinf(over):
                watch(late)
            else:
                self.laws.check_deadlines(machine)

        def watch(late: float = LATENESS) -> None:
            due = machine.clock.true_at(machine.guard.deadline) + late + 2 * EPSILON
            watching.append(due)
            self.kernel.at(max(due, self.kernel.now), look, routine=True)

        def told(deadline: float) -> None:
            if not watching:
                watch()

        return told

    # --- steps -------------------------------------------------------------------------------------------------------

    def on_phase(self, group: GroupId, side: str, phase: str) -> None:
        """A session of a migration has entered a phase."""
        key = (group, side, phase)
        self._entered[key] = self._entered.get(key, 0) + 1
        if side == "source":
            self._hand_overs[group] = phase in _HAND_OVER
        for one in tuple(self._waiting):
            when, action = one
            here = (self._groups[when.vm], when.side, when.phase) == key
            if here and self._entered[key] == when.nth and not self.is_healed:
                self._waiting.remove(one)
                self.kernel.later(when.after, self._take(action))

    def has_hand_over(self) -> bool:
        """Tell whether a guest stands still at this moment for its migration."""
        return any(self._hand_overs.values())

    def _take(self, action: s.Action) -> Callable[[], None]:
        def take() -> None:
            if self.is_healed:
                return
            if isinstance(action, s.COMMANDS):
                self.people.ask(action)  # type: ignore[arg-type]
            else:
                self.faults.bring(action)  # type: ignore[arg-type]

        return take

    # --- playing -----------------------------------------------------------------------------------------------------

    def play(self, steps: Sequence[s.Step], until: float) -> Run:
        """Play all of it."""
        for machine in self.machines.values():
            self.kernel.later(self.dice.between(0.0, START_WITHIN), self._starter(machine))
        for step in steps:
            if isinstance(step.when, s.At):
                self.kernel.at(step.when.seconds, self._take(step.action))
            else:
                self._waiting.append((step.when, step.action))
        violation: Violation | None = None
        settled: float | None = None
        try:
            self._run(until)
            if self.options.settle:
                settled = self._settle()
        except Broken as broken:
            violation = broken.violation
        return Run(
            self.seed,
            self.kernel.now,
            self.kernel.events,
            self.counts,
            violation,
            self._final(),
            tuple(self.trace.lines),
            settled,
        )

    def _run(self, until: float) -> None:
        if not self.options.fast_forward:
            self.kernel.run(until)
        passed = 0.0
        while self.kernel.now < until:
            self.kernel.run(min(until, self.kernel.now + (LOOK_AGAIN if passed else LOOK)))
            passed = pass_still_time(self, until)

    def _starter(self, machine: Machine) -> Callable[[], None]:
        return lambda: self.start_daemon(machine)

    def _settle(self) -> float:
        """Heal the world, and wait until all is well."""
        bound = bound_of(self) if self.options.bound is None else self.options.bound
        began = self.kernel.now
        self.trace.add(Kind.FAULT, "", "the world is healed")
        self.is_healed = True
        self.faults.heal()
        for machine in self.machines.values():
            if not machine.is_on and not machine.is_doomed:
                machine.boot()
            self.start_daemon(machine)
        while self.kernel.now < began + bound:
            self._run(min(self.kernel.now + 1.0, began + bound))
            left = missing(self)
            if not left:
                return self.kernel.now - began
        raise self.laws.broken("liveness", f"{bound:.0f} s after all faults were over: {'; '.join(left)}")

    def _final(self) -> WorldFinal:
        head = self.store.head()
        vms = {}
        for name, group in self._groups.items():
            record, runs = self.laws.records[group], head.run[group].value
            running = next((qemu.machine.name for qemu in self.laws.running.get(group, ())), None)
            state = ResourceState(next(iter(runs.resource_states.values())))
            vms[name] = VmFinal(
                self.name_of(record.holder),
                record.epoch,
                running,
                runs.persistent_state,
                state,
                runs.failover.sentence,
            )
        observer = next(
            (m.daemon for m in self.machines.values() if m.daemon is not None and m.daemon.has_started), None
        )
        nodes = {}
        for node, machine in self.machines.items():
            state_of = NodeState.UNKNOWN if observer is None else observer.membership.node_state(node)
            nodes[machine.name] = state_of
        return WorldFinal(vms, nodes)

    def end(self) -> None:
        """End all daemons, so that nothing of them goes on when they are forgotten."""
        for machine in self.machines.values():
            if machine.daemon is not None:
                machine.daemon.end()


def _nothing() -> None:
    """Do nothing."""


_HAND_OVER: Final = frozenset(
    {
        "stopping",
        "giving",
        "given",
        "settling",
        "noting yours",
        "telling",
        "noting take-back",
        "taking back",
        "resuming",
    }
)
