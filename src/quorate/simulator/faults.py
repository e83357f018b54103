"""Faults, brought into a simulated world and taken out of it again."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorate.clusapi.identity import NodeId
from quorate.simulator import steps as s
from quorate.simulator.kernel import Act, Timer
from quorate.simulator.machine import Machine
from quorate.simulator.qemu import Qemu, Run
from quorate.simulator.step_forms import words
from quorate.simulator.store import Mode, Way
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.simulator.world import World

GUARD_BACK: Final = (0.1, 0.5)
"""Seconds after which a daemon has started a guard again."""
GUARD_BACK_ALONE: Final = (0.1, 1.0)
"""The same, where no daemon lives to do it."""


class Faults:
    """What is wrong with a world."""

    def __init__(self, world: "World") -> None:
        """Nothing is."""
        self._world = world
        self._ends: dict[Timer, Act] = {}
        self._layers: dict[tuple[str, object], int] = {}

    @property
    def are_over(self) -> bool:
        """Tell whether every fault that ends has ended."""
        return not self._ends

    def bring(self, fault: s.Fault) -> None:
        """Bring a fault into the world."""
        world = self._world
        world.counts.faults += 1
        if world.has_hand_over():
            world.counts.cut_hand_overs += 1
        if world.trace.is_kept:
            world.trace.add(Kind.FAULT, "", words(fault))
        self._bring(fault)

    def heal(self) -> None:
        """End them all, now."""
        for timer, end in tuple(self._ends.items()):
            timer.cancel()
            del self._ends[timer]
            end()
        world = self._world
        for machine in world.machines.values():
            machine.way.heal()
            machine.failing_launches = 0
            if machine.is_on and not machine.guard.is_alive:
                machine.guard.come_back()
        world.failing_loads.clear()

    def _for(self, seconds: float | None, end: Act) -> None:
        """Have a fault end after its time."""

        def over() -> None:
            del self._ends[timer]
            end()

        timer = self._world.kernel.later(1e9 if seconds is None else seconds, over)
        self._ends[timer] = end

    def _while(self, what: tuple[str, object], seconds: float | None, begin: Act, end: Act) -> None:
        """Have a fault for its time; the same fault once more at the same time only makes it longer."""
        self._layers[what] = self._layers.get(what, 0) + 1
        if self._layers[what] == 1:
            begin()

        def over() -> None:
            self._layers[what] -= 1
            if not self._layers[what]:
                end()

        self._for(seconds, over)

    def _bring(self, fault: s.Fault) -> None:
        world = self._world
        match fault:
            case s.KillDaemon(node, seconds):
                self._kill_daemon(world.machine_called(node), seconds)
            case s.PauseDaemon(node, seconds):
                self._pause_daemon(world.machine_called(node), seconds)
            case s.KillGuard(node):
                self._kill_guard(world.machine_called(node))
            case s.PowerOff(node, seconds):
                self._power_off(world.machine_called(node), seconds)
            case s.Suspend(node, seconds):
                self._suspend(world.machine_called(node), seconds)
            case s.Database():
                self._database(fault)
            case s.Cut():
                self._cut(fault)
            case s.Foul():
                self._foul(fault)
            case s.KillQemu(vm, node):
                for qemu in self._qemus(vm, node):
                    qemu.kill("it was killed")
            case s.FreezeQemu(vm, node, seconds):
                for qemu in self._qemus(vm, node):
                    self._while(("freeze", qemu), seconds, qemu.freeze, qemu.thaw)
            case s.FailLaunch(node, times):
                world.machine_called(node).failing_launches += times
            case s.FailLoad(vm):
                world.failing_loads.add(world.group_called(vm))
            case s.FullDisk(node, seconds):
                self._full_disk(world.machine_called(node), seconds)
            case s.Dirty(vm, rate):
                world.set_dirty(world.group_called(vm), rate)
            case s.Bandwidth(node, rate, seconds):
                self._bandwidth(world.machine_called(node), rate, seconds)
            case s.Drift(node, ppm):
                machine = world.machine_called(node)
                machine.drift = ppm
                machine.clock.drift(ppm)

    # --- processes and machines --------------------------------------------------------------------------------------

    def _kill_daemon(self, machine: Machine, seconds: float | None) -> None:
        if machine.daemon is None or machine.is_suspended:
            return
        machine.daemon.end()
        machine.daemon = None
        self._for(seconds, lambda: self._world.start_daemon(machine))

    def _pause_daemon(self, machine: Machine, seconds: float | None) -> None:
        daemon = machine.daemon
        if daemon is None or daemon.is_paused:
            return
        daemon.is_paused = True
        daemon.life.stop()

        def go_on() -> None:
            daemon.is_paused = False
            if not machine.is_suspended:
                daemon.go_on()

        self._for(seconds, go_on)

    def _kill_guard(self, machine: Machine) -> None:
        if not machine.is_on or machine.is_suspended:
            return
        machine.guard.die()

        def come_back() -> None:
            if machine.is_on and not machine.is_suspended:
                machine.guard.come_back()
            elif machine.is_suspended:
                machine.on_wake.append(machine.guard.come_back)

        helped = machine.daemon is not None and machine.daemon.life.is_running
        self._for(machine.dice.between(*(GUARD_BACK if helped else GUARD_BACK_ALONE)), come_back)

    def _power_off(self, machine: Machine, seconds: float | None) -> None:
        if not machine.is_on:
            return
        machine.lose_power()
        self._world.links.share_anew()
        if seconds is None:
            machine.is_doomed = True
            return

        def back() -> None:
            if not machine.is_on and not machine.is_doomed:
                machine.boot()
                self._world.start_daemon(machine)

        self._for(seconds, back)

    def _suspend(self, machine: Machine, seconds: float | None) -> None:
        if not machine.is_on or machine.is_suspended:
            return
        machine.suspend()
        self._for(seconds, machine.wake)

    def _full_disk(self, machine: Machine, seconds: float | None) -> None:
        def fill(full: bool) -> None:
            machine.is_disk_full = full

        self._while(("disk", machine), seconds, lambda: fill(True), lambda: fill(False))

    def _qemus(self, vm: str, node: str | None) -> list[Qemu]:
        group = self._world.group_called(vm)
        return [
            qemu
            for machine in self._world.machines.values()
            if node is None or machine.name == node
            for qemu in machine.qemus
            if qemu.group == group and qemu.run is not Run.GONE
        ]

    # --- networks ----------------------------------------------------------------------------------------------------

    def _database(self, fault: s.Database) -> None:
        world = self._world
        if not fault.nodes and fault.mode in ("lost", "silent"):
            world.counts.database_losses += 1
        names = fault.nodes or tuple(machine.name for machine in world.machines.values())
        mode = Mode(fault.mode)
        for name in names:
            way = world.machine_called(name).way
            way.set(mode)
            self._for(fault.seconds, _end_of(way, mode))

    def _cut(self, fault: s.Cut) -> None:
        world = self._world
        here = world.machine_called(fault.node)
        networks = ("cluster", "storage", "migration") if fault.network == "all" else (fault.network,)
        if "storage" in networks and (fault.other is None or fault.network == "storage"):
            self._while(("storage", here), fault.seconds, lambda: here.way.cut(True), lambda: here.way.cut(False))
        others = (
            [machine.node for machine in world.machines.values() if machine is not here]
            if fault.other is None
            else [world.node_called(fault.other)]
        )
        for network in networks:
            if network != "storage":
                for other in others:
                    self._cut_pair(network, here.node, other, fault.seconds)
                    if not fault.one_way:
                        self._cut_pair(network, other, here.node, fault.seconds)

    def _cut_pair(self, network: str, sender: NodeId, receiver: NodeId, seconds: float | None) -> None:
        world = self._world
        cuts = world.network.cuts if network == "cluster" else world.network.memory_cuts

        def change(by: int) -> Callable[[], None]:
            def act() -> None:
                cuts[sender, receiver] = cuts.get((sender, receiver), 0) + by
                if network != "cluster":
                    world.links.share_anew()

            return act

        change(1)()
        self._for(seconds, change(-1))

    def _foul(self, fault: s.Foul) -> None:
        network = self._world.network
        network.loss = max(network.loss, fault.loss)
        network.duplication = max(network.duplication, fault.duplication)
        network.delay = max(network.delay, fault.delay)

        def clean() -> None:
            network.loss = network.duplication = network.delay = 0.0

        self._while(("foul", network), fault.seconds, lambda: None, clean)

    def _bandwidth(self, machine: Machine, rate: float, seconds: float | None) -> None:
        usual = self._world.bandwidth_of(machine.name)

        def carry(at_rate: float) -> None:
            machine.link_rate = at_rate
            self._world.links.share_anew()

        self._while(("bandwidth", machine), seconds, lambda: carry(rate), lambda: carry(usual))


def _end_of(way: Way, mode: Mode) -> Act:
    def end() -> None:
        if way.own_mode is mode:
            way.set(Mode.OK)

    return end
