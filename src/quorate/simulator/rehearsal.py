"""A rehearsal: what a drain, or the loss of nodes, would do to a cluster that is like the real one, with times.

The simulated cluster comes up as the real one is; then what is rehearsed happens, and everything is watched until it
is over. What decides are the brains of production. Times are seconds since the beginning of what is rehearsed.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import VmResdllContext
from quorate.clusapi.status import Status
from quorate.cluster.moves import DrainStage, Stage
from quorate.cluster.picture import PARKED
from quorate.cluster.placement import Room, choose
from quorate.database import keys
from quorate.database.contract import Change
from quorate.engine.queue_records import to_drain
from quorate.migration.outgoing import Outcome
from quorate.simulator import steps as s
from quorate.simulator.brains import PRODUCTION
from quorate.simulator.ending import missing
from quorate.simulator.inventory import Seeded, listed
from quorate.simulator.laws import Broken
from quorate.simulator.machine import Machine
from quorate.simulator.qemu import Qemu
from quorate.simulator.rehearsed import Cost, Drain, How, Journey, Lose, NodeRoom, Rehearsed, Trouble, What
from quorate.simulator.setup import VmSetup
from quorate.simulator.spare import Uncovered, find_uncovered
from quorate.simulator.stillness import have_noted_each_other, pass_still_time
from quorate.simulator.view import View
from quorate.simulator.world import LOOK, Options, World

WARM_UP: Final = 600.0
"""Seconds at most until everything runs as it does in the real cluster."""
WHILE_JOINING: Final = 0.4
"""Seconds between two looks of a node while the simulated cluster comes up."""
JOINING_OF_ONE: Final = 0.004
"""Seconds for each node, if that is more: what a look costs grows with the nodes, too."""
TOGETHER: Final = 0.1
"""Seconds within which all daemons are started: whatever joins later is looked at by all the others."""
LONGEST: Final = 24 * 3600.0
"""Seconds after which a rehearsal is broken off."""
STEP: Final = 0.25
"""Seconds between two looks at a short wait."""
NO_CONVERGENCE: Final = "will not converge"
"""So begins the reason of a migration that copies for ever (`migration/convergence.py`)."""


_HOW: Final = {
    VmResdllContext.SHUTDOWN: How.SHUT_DOWN,
    VmResdllContext.SHUTDOWN_FORCE: How.SHUT_DOWN,
    VmResdllContext.TURN_OFF: How.TURNED_OFF,
}


def rehearse(seeded: Seeded, what: Drain | Lose, seed: int = 1) -> Rehearsed:
    """Rehearse. Raises FaultError when the simulated cluster broke a law: then what it says is worth nothing."""
    stage = RehearsedWorld(seeded, seed)
    enabled = gc.isenabled()
    gc.disable()  # as `world.run` does
    try:
        return stage.rehearse(what)
    except Broken as broken:
        raise FaultError(
            Status.ERROR_GEN_FAILURE, f"the rehearsal broke off, by a fault of this program: {broken.violation}"
        ) from broken
    finally:
        stage.end()
        if enabled:
            gc.enable()


@dataclass(frozen=True, slots=True)
class _Place:
    """Whether there is somewhere to go, and why or why not."""

    is_somewhere: bool
    sentence: str


class RehearsedWorld(World):
    """A world in which nothing goes wrong but what is rehearsed."""

    is_calm = True

    def __init__(self, seeded: Seeded, seed: int) -> None:
        super().__init__(seeded.setup, seed, PRODUCTION, Options(settle=False))
        self._seeded = seeded
        self._zero: float | None = None
        self._open: dict[GroupId, Journey] = {}
        self._journeys: list[Journey] = []
        self._is_lost = False
        self._is_up = False
        self._remarks: list[str] = list(seeded.left_out)
        self.laws.on_guest = self._on_guest
        self._inner_change: Callable[[Change], None] = self.store.on_change
        self.store.on_change = self._on_change

    # --- what is rehearsed -------------------------------------------------------------------------------------------

    def rehearse(self, what: Drain | Lose) -> Rehearsed:
        """Come up, unless that is done already, and do it."""
        if not self._is_up:
            self.come_up()
        before, uncovered = self._placement(), self._uncovered()
        if isinstance(what, Drain):
            self._let_leases_be()
        self._zero, cost_before = self.kernel.now, self._cost()
        if isinstance(what, Drain):
            turns = [(name,) for name in what.nodes] if what.in_turn else [what.nodes]
            is_over = True
            for names in turns:
                is_over = self._drain(what, names) and is_over
        else:
            self._is_lost = True
            for name in what.nodes:
                self.faults.bring(s.PowerOff(name, None))
            is_over = self._until(lambda: self._is_recovered(before), LONGEST, LOOK)
        after, cost = self._placement(), self._cost() - cost_before
        troubles = [*self._of_machines(what, before, after), *self._of_classes(before, after)]
        spare = list(self._of_spare(uncovered))
        if len(self._takers()) > 1:
            troubles += spare
        else:  # of course: it is no rule that what is left of a small cluster could break
            self._remarks += [one.sentence for one in spare]
        if not is_over:
            left = listed(missing(self)) or "the drain goes on"
            troubles.append(Trouble(What.NOT_OVER, "", f"it is not over after {LONGEST / 3600:.0f} h: {left}"))
        journeys = tuple(sorted(self._journeys, key=lambda one: (one.begins, one.vm.casefold())))
        remarks = (*self._remarks, *self._of_preferences(before, after), *self._of_attempts(troubles))
        done = max((one.ends for one in journeys if one.ends is not None), default=0.0)
        rooms = self._rooms(before, after)
        return Rehearsed(self.seed, journeys, tuple(troubles), remarks, rooms, done, cost)

    def _cost(self) -> Cost:
        return Cost(self.store.transactions, self.network.asked, self.kernel.events)

    def add_view(self, machine: Machine, view: View) -> None:
        """While everybody joins, not each of all at each single one of them looks at all the others."""
        super().add_view(machine, view)
        view.pause = max(WHILE_JOINING, len(self.machines) * JOINING_OF_ONE)

    def come_up(self) -> None:
        """Start all daemons, and wait until everything is as it is in the real cluster."""
        for machine in self.machines.values():
            self.kernel.later(self.dice.between(0.0, TOGETHER), self._starter(machine))
        end, is_well = self.kernel.now + WARM_UP, False
        while not is_well and self.kernel.now < end:
            self.kernel.run(self.kernel.now + LOOK)
            is_well = self._is_well()
            if not is_well:
                pass_still_time(self, end)
        if not is_well:
            late = listed([vm.name for vm in self._asleep()])
            self._remarks.append(f"{late}: did not come up in the rehearsal, and count as stopped")
        for machine in self.machines.values():
            if machine.daemon is not None:
                machine.daemon.view.pause = 0.0
        for name in self._seeded.paused:
            self._pause(name)
        self._is_up = True

    def _let_leases_be(self) -> None:
        """Nobody is lost in a drain: leases hold, and that they are renewed meanwhile need not be played."""
        daemons = [machine.daemon for machine in self.machines.values() if machine.daemon is not None]
        for daemon in daemons:
            daemon.keeper.rest()
        settled = self._until(
            lambda: all(one.keeper.is_settled and one.view.is_settled for one in daemons), WARM_UP, STEP
        )
        assert settled, "nothing is in the way of what is under way"
        for daemon in daemons:
            seconds = daemon.machine.clock.elapsing(2 * LONGEST)
            daemon.view.shift(seconds)
            daemon.keeper.shift(seconds)

    def _is_well(self) -> bool:
        """Tell whether all is as in a cluster that has been up for a while."""
        return self._doors_are_open() and have_noted_each_other(self) and not self._asleep()

    def _doors_are_open(self) -> bool:
        daemons = [machine.daemon for machine in self.machines.values()]
        are_open = all(daemon is not None and daemon.has_open_doors for daemon in daemons)
        return are_open and any(daemon is not None and daemon.coordination.is_acting for daemon in daemons)

    def _asleep(self) -> list[VmSetup]:
        return [vm for vm in self.setup.vms if vm.online and not self.laws.running.get(self.group_called(vm.name))]

    def _ask(self, command: s.Command) -> None:
        """Ask for something now: within an event, like everything that happens."""
        self.kernel.at(self.kernel.now, partial(self.people.ask, command))

    def _pause(self, name: str) -> None:
        node = self.node_called(name)
        self._ask(s.Pause(name))
        self._until(lambda: self.store.head().nodes[node].paused, WARM_UP, STEP)

    def _drain(self, what: Drain, names: tuple[str, ...]) -> bool:
        """Drain some nodes at the same time; answers whether that is over."""
        if len(names) > 1:
            for name in names:  # first of all: nothing goes from one of them to another
                if not self.store.head().nodes[self.node_called(name)].paused:
                    self._pause(name)
        for name in names:
            self._ask(s.Drain(name, what.to, what.remain))
        nodes = [self.node_called(name) for name in names]
        self._until(lambda: all(node in self.store.head().drains for node in nodes), WARM_UP, STEP)
        return self._until(lambda: self._is_drained(nodes) and not missing(self), LONGEST, LOOK)

    def _is_drained(self, nodes: list[NodeId]) -> bool:
        head = self.store.head()
        drains = (head.drains.get(node) for node in nodes)
        if any(drain is not None and drain.value.stage == DrainStage.DRAINING.value for drain in drains):
            return False
        return all(move.value.stage != Stage.BEGUN.value for move in head.moves.values())

    def _is_recovered(self, before: dict[str, str]) -> bool:
        """Tell whether everything that somebody can take is taken, and runs or waits for room."""
        head = self.store.head()
        for vm in self.setup.vms:
            group = self.group_called(vm.name)
            holder, run = self.machines[self.laws.records[group].holder], head.run[group].value
            if holder.is_doomed:
                lease = self.store.lease(holder.node)
                if lease is None or not lease.value.ended or self._choose(group).is_somewhere:
                    return False
            elif vm.name in before and not self.laws.running.get(group):
                has_ended = run.failover.failed_at is not None or bool(run.status_information & int(PARKED))
                if not has_ended:
                    return False
        return True

    def _choose(self, group: GroupId) -> "_Place":
        """Where a living node would have a group go now."""
        daemon = next((one.daemon for one in self.machines.values() if one.daemon is not None), None)
        if daemon is None:
            return _Place(False, "no node is left")
        picture = daemon.picture()
        known = picture.groups[group]
        choice = choose(picture, Room(picture), known, without=frozenset({known.owner}))
        return _Place(choice.node is not None or choice.keeper is not None, choice.sentence)

    def _until(self, is_so: Callable[[], bool], seconds: float, step: float) -> bool:
        """Go on until it is so; answers whether it is."""
        end = self.kernel.now + seconds
        while not is_so():
            if self.kernel.now >= end:
                return False
            self.kernel.run(min(end, self.kernel.now + step))
            pass_still_time(self, end)
        return True

    # --- watching ----------------------------------------------------------------------------------------------------

    def on_phase(self, group: GroupId, side: str, phase: str) -> None:
        """Watch the sources of migrations."""
        super().on_phase(group, side, phase)
        if self._zero is None or side != "source":
            return
        journey = self._open.get(group)
        if journey is None:
            journey = self._begin(group, How.LIVE)
        daemon = self.machine_called(journey.source).daemon
        session = None if daemon is None else daemon.migrations.outgoing.get(group)
        if session is None:
            return
        journey.destination = self.name_of(session.brain.destination)
        if phase == "ended":
            if session.brain.outcome is not Outcome.DONE:
                journey.failure = session.brain.reason or "it came to nothing"
            self._finish(group, journey)

    def _on_guest(self, qemu: Qemu, runs: bool) -> None:
        if self._zero is None:
            return
        journey = self._open.get(qemu.group)
        if not runs:
            if journey is None:
                if qemu.machine.node != self.laws.records[qemu.group].holder:
                    return  # what is left of it where it has gone from
                journey = self._begin(qemu.group, self._how(qemu.group))
            if journey.still_since is None:
                journey.still_since = self._now()
            if qemu.transfer is not None and journey.how is How.LIVE:
                journey.passes, journey.copied = qemu.transfer.model.passes, qemu.transfer.model.transferred
        elif journey is not None:
            if journey.still_since is not None:
                journey.gap += self._now() - journey.still_since
                journey.still_since = None
            if journey.how is not How.LIVE:
                journey.destination = qemu.machine.name
                if journey.destination == journey.source:
                    journey.failure = "it goes on where it was"
                self._finish(qemu.group, journey)

    def _on_change(self, change: Change) -> None:
        group = GroupId(change.key.removeprefix(keys.OWNERSHIP)) if change.key.startswith(keys.OWNERSHIP) else None
        old = None if group is None else self.laws.records.get(group)
        self._inner_change(change)
        if self._zero is None or group is None or old is None or not self.memory_of(group):
            return
        if self.laws.records[group].holder == old.holder:
            return
        destination = self.name_of(self.laws.records[group].holder)
        journey = self._open.get(group)
        if journey is not None:
            journey.destination = destination
        elif not self.laws.running.get(group):
            now, name = self._now(), self.name_of(group)
            self._journeys.append(Journey(name, How.STOPPED, self.name_of(old.holder), now, destination, now))

    def _begin(self, group: GroupId, how: How) -> Journey:
        source = self.name_of(self.laws.records[group].holder)
        journey = self._open[group] = Journey(self.name_of(group), how, source, self._now())
        self._journeys.append(journey)
        return journey

    def _finish(self, group: GroupId, journey: Journey) -> None:
        journey.ends = self._now()
        del self._open[group]

    def _how(self, group: GroupId) -> How:
        if self._is_lost:
            return How.RESTARTED
        move = self.store.head().moves.get(group)
        return How.SAVED if move is None else _HOW.get(VmResdllContext(move.value.how), How.SAVED)

    def _now(self) -> float:
        assert self._zero is not None, "it is watched from the beginning on"
        return self.kernel.now - self._zero

    # --- what came of it ---------------------------------------------------------------------------------------------

    def _placement(self) -> dict[str, str]:
        """Where each virtual machine runs, by their names."""
        running = ((name, self.laws.running.get(group)) for name, group in self._groups.items())
        return {name: next(iter(qemus)).machine.name for name, qemus in running if qemus}

    def _of_machines(self, what: Drain | Lose, before: dict[str, str], after: dict[str, str]) -> Iterator[Trouble]:
        """Those that are not where they should be, or do not run any more."""
        for vm in self.setup.vms:
            holder = self.name_of(self.laws.records[self.group_called(vm.name)].holder)
            if isinstance(what, Drain) and holder in what.nodes:
                yield self._why_it_stays(vm, holder)
            elif vm.name in before and vm.name not in after:
                why = self._why_it_stands(self.group_called(vm.name))
                yield Trouble(What.DOES_NOT_RUN, vm.name, f"{vm.name} does not run any more: {why}")

    def _why_it_stays(self, vm: VmSetup, node: str) -> Trouble:
        tried = [one.failure for one in self._journeys if one.vm == vm.name and one.failure]
        if tried:
            kind = What.DOES_NOT_CONVERGE if tried[-1].startswith(NO_CONVERGENCE) else What.FAILS
            times = f"{len(tried)} attempts" if len(tried) > 1 else "one attempt"
            return Trouble(kind, vm.name, f"{vm.name} stays on {node} after {times}: {tried[-1]}")
        if vm.locked:
            return Trouble(
                What.STAYS, vm.name, f"{vm.name} stays on {node}: it is locked from moving (LockedFromMoving)"
            )
        id_, group = self.node_called(node), self.group_called(vm.name)
        found = self.store.head().drains.get(id_)
        trouble = None if found is None else to_drain(id_, found).troubles.get(group)
        why = self._why_it_stands(group) if trouble is None else trouble.sentence
        return Trouble(What.STAYS, vm.name, f"{vm.name} stays on {node}: {why}")

    def _why_it_stands(self, group: GroupId) -> str:
        return self.store.head().run[group].value.failover.sentence or self._choose(group).sentence

    def _of_classes(self, before: dict[str, str], after: dict[str, str]) -> Iterator[Trouble]:
        """Those that are together though of one anti-affinity class, and were not before."""
        for name in sorted({class_ for vm in self.setup.vms for class_ in vm.classes}):
            of_class = [vm.name for vm in self.setup.vms if name in vm.classes]
            for node in sorted(set(after.values())):
                together = [vm for vm in of_class if after.get(vm) == node]
                if len(together) > 1 and len({before.get(vm) for vm in together}) > 1:
                    sentence = f"{listed(together)} come together on {node}, though of the anti-affinity class {name!r}"
                    yield Trouble(What.ANTI_AFFINITY, "", sentence)

    def _uncovered(self) -> dict[str, Uncovered]:
        """The virtual machines that would find no place if their node were lost now."""
        daemon = next((one.daemon for one in self.machines.values() if one.daemon is not None), None)
        return {} if daemon is None else find_uncovered(daemon.picture())

    def _takers(self) -> list[str]:
        """The nodes on which anything may be placed now."""
        nodes = self.store.head().nodes
        there = [machine for machine in self.machines.values() if machine.is_on]
        return [machine.name for machine in there if not nodes[machine.node].paused]

    def _of_spare(self, before: dict[str, Uncovered]) -> Iterator[Trouble]:
        """Those for which the loss of one more node is not covered any more (N+1)."""
        of_nodes: dict[str, list[Uncovered]] = {}
        for vm, uncovered in self._uncovered().items():
            if vm not in before:
                of_nodes.setdefault(uncovered.node, []).append(uncovered)
        for node, found in sorted(of_nodes.items(), key=lambda one: (-len(one[1]), one[0]))[:1]:
            many = f"{len(found)} virtual machine{'' if len(found) == 1 else 's'}"
            others = f"; {len(of_nodes) - 1} more nodes cannot be lost either" if len(of_nodes) > 1 else ""
            sentence = (
                f"no room is kept for the loss of one more node: without {node}, {many} would find no place, "
                f"{listed([one.vm for one in found])} ({found[0].why}){others}"
            )
            yield Trouble(What.NO_SPARE, "", sentence)

    def _of_preferences(self, before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
        for vm in self.setup.vms:
            old, new = before.get(vm.name), after.get(vm.name)
            if old in vm.preferred and new is not None and new not in vm.preferred:
                yield f"{vm.name} ends on {new}, which is none of its preferred owners"

    def _of_attempts(self, troubles: list[Trouble]) -> Iterator[str]:
        """Those that have arrived, but not at once."""
        told = {trouble.vm for trouble in troubles}
        for journey in self._journeys:
            if journey.failure and journey.vm not in told:
                yield f"{journey.vm} does not go to {journey.destination} at once: {journey.failure}"

    def _rooms(self, before: dict[str, str], after: dict[str, str]) -> tuple[NodeRoom, ...]:
        def taken(placement: dict[str, str]) -> Counter[str]:
            sizes: Counter[str] = Counter()
            for vm in self.setup.vms:
                if vm.name in placement:
                    sizes[placement[vm.name]] += vm.memory
            return sizes

        then, now = taken(before), taken(after)
        return tuple(NodeRoom(one.name, one.memory, then[one.name], now[one.name]) for one in self.setup.nodes)
