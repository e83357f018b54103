"""The episodes of a random history: plots, each of them a way in which things go wrong in real clusters.

A plot has faults that wait for a phase of a migration it has asked for, or that come shortly after one another, or
after a command. What the plots of a history leave of its commands and faults is strewn over its episodes.
"""

from collections.abc import Callable
from typing import Final, Literal

from quorate.migration import incoming, outgoing
from quorate.simulator import steps as s
from quorate.simulator.dice import Dice
from quorate.simulator.setup import GIGABIT, Setup

_SOURCE: Final = tuple(phase.value for phase in outgoing.Phase if phase is not outgoing.Phase.QUEUED)
_DESTINATION: Final = tuple(phase.value for phase in incoming.Phase)
_HAND_OVER: Final = (
    *(
        ("source", phase.value)
        for phase in (
            outgoing.Phase.STOPPING,
            outgoing.Phase.GIVING,
            outgoing.Phase.GIVEN,
            outgoing.Phase.NOTING_YOURS,
            outgoing.Phase.TELLING,
        )
    ),
    *(
        ("destination", phase.value)
        for phase in (
            incoming.Phase.LOADED,
            incoming.Phase.NOTING_CONT,
            incoming.Phase.STARTING,
            incoming.Phase.MARKING,
        )
    ),
)
"""Where a guest stands still, or has just gone on: the moments for which the rules R1 to R8 were made."""
_SHORT: Final = (0.3, 1.0, 2.5, 4.0, 7.0, 12.0)
_SOON: Final = (0.0, 0.0, 0.001, 0.003, 0.01, 0.1, 1.0)


class Author:
    """Writes the episodes of one history."""

    def __init__(self, dice: Dice, setup: Setup) -> None:
        """Know the cluster; nothing has been written."""
        self._dice = dice
        self._nodes = [node.name for node in setup.nodes]
        self._vms = [vm.name for vm in setup.vms]
        self._doomed: set[str] = set()
        self._paused: list[str] = []
        self._stopped: list[str] = []
        self._evicted: list[str] = []
        """What somebody has tried to evict, and nobody has admitted again."""
        self._moved: list[str] = []
        """What was migrated in this episode."""
        self._steps: list[s.Step] = []
        self._begin = self._length = 0.0
        self._commands = self._faults = 0

    def write(self, begin: float, length: float, faults: int, commands: int, left: int) -> None:
        """Write an episode; `left` are still to be written, and share what is left of the faults and commands."""
        self._begin, self._length = begin, length
        self._moved.clear()
        self._tidy_up()
        self._dice.weighted(self._plots())()
        due = -(-(faults - self._faults) // left)
        for _ in range(due):
            self._fault_at(self._moment(1.0), self._any_fault())
        for _ in range(-(-(commands - self._commands) // left)):
            self._command_at(self._moment(0.0), self._any_command())

    def story(self, until: float) -> tuple[s.Step, ...]:
        """Give all that happens before the end."""

        def moment(step: s.Step) -> float:
            return step.when.seconds if isinstance(step.when, s.At) else 0.0

        for index, step in enumerate(self._steps):
            if moment(step) > until:
                self._steps[index] = s.Step(s.At(until), step.action)
        return tuple(sorted(self._steps, key=moment))

    # --- what is written ---------------------------------------------------------------------------------------------

    def _moment(self, longer: float) -> float:
        return self._begin + self._dice.between(0.0, self._length + longer)

    def _tidy_up(self) -> None:
        """Before an episode people mostly put right what they have left: else everything stands still in the end."""
        at = self._begin - 8.0
        for node in dict.fromkeys(self._paused):
            if self._dice.chance(0.7):
                self._command_at(at, s.Resume(node, self._dice.choice(("none", "immediate", "policy"))))
        for node in dict.fromkeys(self._evicted):
            if self._dice.chance(0.8):
                self._command_at(at - 0.1, s.Admit(node))
        for vm in dict.fromkeys(self._stopped):
            if self._dice.chance(0.7):
                self._command_at(at + 0.1, s.Start(vm))

    def _command_at(self, at: float, command: s.Command) -> None:
        self._commands += 1
        self._steps.append(s.Step(s.At(at), command))
        match command:
            case s.Pause(node) | s.Drain(node):
                self._paused.append(node)
            case s.Evict(node) if node not in self._evicted:
                self._evicted.append(node)
            case s.Admit(node) if node in self._evicted:
                self._evicted.remove(node)
            case s.Resume(node) if node in self._paused:
                self._paused.remove(node)
            case s.Stop(vm):
                self._stopped.append(vm)
            case s.Start(vm) if vm in self._stopped:
                self._stopped.remove(vm)
            case s.Migrate(vm):
                self._moved.append(vm)
            case _:
                pass

    def _fault_at(self, at: float, fault: s.Fault) -> None:
        self._faults += 1
        self._steps.append(s.Step(s.At(at), fault))

    def _when(self, vm: str, side: Literal["source", "destination"], phase: str, action: s.Action) -> None:
        after = self._dice.choice(_SOON) * self._dice.draw()
        self._steps.append(s.Step(s.On(vm, phase, side, after), action))

    def _vm(self) -> str:
        """Choose a virtual machine, rather one that should run."""
        vm = self._dice.choice(self._vms)
        return self._dice.choice(self._vms) if vm in self._stopped else vm

    def _node(self) -> str:
        return self._dice.choice(self._nodes)

    def _short(self) -> float:
        return self._dice.choice(_SHORT)

    def _others(self, node: str) -> list[str]:
        return [name for name in self._nodes if name != node]

    # --- plots -------------------------------------------------------------------------------------------------------

    def _plots(self) -> tuple[tuple[Callable[[], None], float], ...]:
        return (
            (self._chaos, 3.0),
            (self._hand_over, 4.0),
            (self._copying, 2.0),
            (self._cancel, 3.0),
            (self._drain, 2.5),
            (self._outage, 1.5),
            (self._loss, 2.0),
            (self._flapping, 0.7),
            (self._crowd, 1.5),
            (self._people, 1.0),
            (self._replacement, 1.2),
        )

    def _chaos(self) -> None:
        """Moves, and faults that wait for any phase of theirs."""
        for _ in range(1 + self._dice.below(3)):
            vm = self._migrate(self._moment(0.0))
            for _ in range(self._dice.below(3)):
                if self._dice.chance(0.6):
                    self._when(vm, "source", self._dice.choice(_SOURCE), self._any_fault())
                else:
                    self._when(vm, "destination", self._dice.choice(_DESTINATION), self._any_fault())

    def _hand_over(self) -> None:
        """A fault, or two at once, while a guest changes hands."""
        dice, at = self._dice, self._begin
        for _ in range(1 + dice.below(2)):
            vm = self._migrate(at)
            side, phase = dice.choice(_HAND_OVER)
            for _ in range(1 if dice.chance(0.6) else 2):
                self._when(vm, "source" if side == "source" else "destination", phase, self._sharp_fault())
            at += dice.between(0.0, 8.0)

    def _copying(self) -> None:
        """The copy is slowed down, cut, or outrun by its guest."""
        dice = self._dice
        vm = self._migrate(self._begin)
        node, short = self._node(), self._short()
        faults: tuple[s.Fault, ...] = (
            s.Bandwidth(node, dice.choice((0.05, 0.1, 1.0)) * GIGABIT, short),
            s.Cut("migration", node, None, dice.chance(0.3), short),
            s.Dirty(vm, dice.choice((0.0, 500e6, 2e9))),
            s.FreezeQemu(vm, None, short),
            s.KillQemu(vm, node),
            s.KillDaemon(node, short),
            s.FailLoad(vm),
        )
        for _ in range(1 + dice.below(2)):
            if dice.chance(0.6):
                self._when(vm, "source", "transfer", dice.choice(faults))
            else:
                self._fault_at(self._moment(1.0), dice.choice(faults))

    def _cancel(self) -> None:
        """Somebody changes their mind, perhaps too late, perhaps while something breaks."""
        dice, at = self._dice, self._begin
        for _ in range(1 + dice.below(3)):
            vm = self._migrate(at)
            phase = dice.choice(("preparing", "transfer", "transfer", "transfer", "stopping", "giving"))
            self._when(vm, "source", phase, s.Cancel(vm))
            self._command_at(at + dice.choice((0.05, 0.3, 0.6, 1.0)), s.Cancel(vm))
            if dice.chance(0.4):
                self._when(vm, "source", dice.choice((phase, "cancelling")), self._sharp_fault())
            at += dice.between(0.0, 3.0)

    def _drain(self) -> None:
        """A node is emptied; it, or another one, has trouble; it is resumed, in the middle or after."""
        dice, node, at = self._dice, self._node(), self._begin
        to = dice.choice(self._others(node)) if dice.chance(0.15) else None
        self._command_at(at, s.Drain(node, to, dice.chance(0.6), dice.chance(0.3)))
        for _ in range(dice.below(3)):
            who = node if dice.chance(0.4) else self._node()
            self._fault_at(at + dice.between(0.0, 6.0), self._sharp_fault(who))
        if dice.chance(0.3):
            self._command_at(at + dice.between(0.0, 4.0), s.Move(self._vm(), node))
        later = dice.choice((0.5, 3.0, 10.0, 30.0, 60.0)) * dice.between(0.7, 1.3)
        self._command_at(at + later, s.Resume(node, dice.choice(("none", "immediate", "immediate", "policy"))))
        if dice.chance(0.3):
            self._fault_at(at + later + dice.between(0.0, 3.0), self._sharp_fault())

    def _outage(self) -> None:
        """The database loses its quorum while things move, and perhaps somebody dies meanwhile."""
        dice, at = self._dice, self._begin
        mode: s.DatabaseMode = dice.choice(("lost", "lost", "silent", "mute"))
        long = dice.choice((1.0, 3.0, 6.0, 12.0, 20.0))
        self._migrate(at - dice.between(0.0, 1.0))
        self._fault_at(at, s.Database(mode, (), long))
        if dice.chance(0.5):
            self._fault_at(at + dice.between(0.0, long), self._sharp_fault())
        for _ in range(dice.below(3)):
            self._command_at(at + dice.between(0.0, long + 2.0), self._any_command())

    def _loss(self) -> None:
        """One or two machines are lost, with moves under way between any of them."""
        dice, at = self._dice, self._begin
        for _ in range(dice.below(3)):
            self._migrate(at + dice.between(-1.0, 1.0))
        for node in dice.some(self._nodes, 1 + dice.below(2)):
            kind = dice.below(3)
            if kind == 0:
                self._fault_at(at + dice.draw(), s.PowerOff(node, self._off_for(node)))
            elif kind == 1:
                self._fault_at(at + dice.draw(), s.Suspend(node, dice.choice((4.0, 12.0, 20.0))))
            else:
                self._fault_at(at + dice.draw(), s.Cut("all", node, None, False, dice.choice((4.0, 12.0, 20.0))))
            if dice.chance(0.2):
                self._command_at(at + dice.between(0.0, 12.0), s.ConfirmOff(node))

    def _flapping(self) -> None:
        """A node, or its daemon, goes and comes again and again."""
        dice, node, at = self._dice, self._node(), self._begin
        for _ in range(2 + dice.below(2)):
            fault = s.PowerOff(node, 5.0) if dice.chance(0.3) else s.KillDaemon(node, dice.choice((0.5, 2.0, 7.0)))
            self._fault_at(at, fault)
            self._migrate(at + dice.between(0.0, 3.0))
            at += dice.between(3.0, 15.0)

    def _crowd(self) -> None:
        """Many commands at one moment, to the same few things."""
        vms = self._dice.some(self._vms, 2)
        for _ in range(6 + self._dice.below(6)):
            command = self._any_command(self._dice.choice(vms))
            self._command_at(self._begin + 0.5 * self._dice.draw() ** 2, command)

    def _people(self) -> None:
        """Nothing is wrong; people work."""
        for _ in range(3 + self._dice.below(5)):
            self._command_at(self._begin + self._dice.between(0.0, 20.0), self._any_command())

    def _replacement(self) -> None:
        """A node that was drained, or has died, is evicted while things move or break; another one takes its name."""
        dice, node, at = self._dice, self._node(), self._begin
        if dice.chance(0.6):
            self._command_at(at, s.Drain(node, None, False, dice.chance(0.3)))
            again = dice.choice((0.3, 1.0, 3.0))
        else:
            self._fault_at(at, s.PowerOff(node, dice.choice((4.0, 12.0, 60.0))))
            again = dice.choice((1.0, 2.0, 5.0))
        for _ in range(dice.below(3)):
            vm = self._migrate(at + dice.between(-1.0, 3.0))
            side, phase = dice.choice(_HAND_OVER)
            if dice.chance(0.4):
                self._when(vm, "source" if side == "source" else "destination", phase, s.Evict(node))
        for _ in range(2 + dice.below(4)):
            at += again * dice.between(0.5, 1.5)
            self._command_at(at, s.Evict(node))
            if dice.chance(0.25):
                self._fault_at(at + dice.choice(_SOON) * dice.draw(), self._sharp_fault(dice.choice((node, ""))))
        if dice.chance(0.7):
            self._command_at(at + dice.choice((0.2, 2.0, 10.0)) * dice.draw(), s.Admit(node))

    def _migrate(self, at: float) -> str:
        vm = self._vm()
        self._command_at(at, s.Migrate(vm, self._node() if self._dice.chance(0.4) else None))
        return vm

    # --- commands ----------------------------------------------------------------------------------------------------

    def _any_command(self, vm: str = "") -> s.Command:
        dice = self._dice
        vm, node = vm or self._vm(), self._node()
        to = self._node() if dice.chance(0.5) else None
        evicted = dice.choice(self._evicted) if self._evicted else node
        paused = dice.choice(self._paused) if self._paused else node
        moved = dice.choice(self._moved) if self._moved else vm
        stopped = dice.choice(self._stopped) if self._stopped and dice.chance(0.7) else vm
        makers: tuple[tuple[Callable[[], s.Command], float], ...] = (
            (lambda: s.Migrate(vm, to), 14.0),
            (lambda: s.Cancel(moved), 2.0),
            (lambda: s.Start(stopped), 6.0 if self._stopped else 1.0),
            (lambda: s.Stop(vm, dice.choice(("save", "shut down", "turn off"))), 3.0),
            (lambda: s.Move(vm, to), 3.0),
            (lambda: s.Drain(node, None, dice.chance(0.6), dice.chance(0.3)), 1.5),
            (lambda: s.Resume(paused, dice.choice(("none", "immediate", "policy"))), 4.0 if self._paused else 0.5),
            (lambda: s.Pause(node), 1.0),
            (lambda: s.ConfirmOff(node), 0.7),
            (lambda: s.Evict(paused), 0.7),
            (lambda: s.Admit(evicted), 2.0 if self._evicted else 0.0),
            (lambda: s.SetCluster("SameSubnetThreshold", dice.choice((3, 5, 10))), 0.5),
            (lambda: s.SetCluster("MaximumParallelMigrations", dice.choice((1, 2, 4))), 0.5),
            (lambda: s.SetGroup(vm, "Priority", dice.choice((1000, 2000, 3000))), 1.0),
            (lambda: s.SetGroup(vm, "LockedFromMoving", dice.choice((0, 0, 1))), 0.4),
            (lambda: s.SetGroup(vm, "AutoFailbackType", dice.below(2)), 0.4),
        )
        return dice.weighted(makers)()

    # --- faults ------------------------------------------------------------------------------------------------------

    def _sharp_fault(self, node: str = "") -> s.Fault:
        """What hurts at once: a process, a machine, a network or the database."""
        dice = self._dice
        node, short = node or self._node(), self._short()
        other = dice.choice(self._others(node))
        network: s.Network = dice.choice(("cluster", "migration", "storage", "all"))
        mode: s.DatabaseMode = dice.choice(("lost", "silent", "mute"))
        makers: tuple[tuple[Callable[[], s.Fault], float], ...] = (
            (lambda: s.KillDaemon(node, dice.choice((0.2, 1.0, 3.0, short))), 5.0),
            (lambda: s.PauseDaemon(node, short), 3.0),
            (lambda: s.PowerOff(node, self._off_for(node)), 3.0),
            (lambda: s.Suspend(node, short), 1.5),
            (lambda: s.Cut(network, node, other, dice.chance(0.3), short), 3.0),
            (lambda: s.Cut(network, node, None, dice.chance(0.2), short), 2.0),
            (lambda: s.Database(mode, (node,) if dice.chance(0.6) else (), short), 4.0),
            (lambda: s.KillQemu(self._vm()), 1.0),
            (lambda: s.KillGuard(node), 1.5),
            (lambda: s.FullDisk(node, short), 1.0),
        )
        return dice.weighted(makers)()

    def _any_fault(self) -> s.Fault:
        dice = self._dice
        if dice.chance(0.6):
            return self._sharp_fault()
        node, vm, short = self._node(), self._vm(), self._short()
        some = tuple(dice.some(self._nodes, 1 + dice.below(len(self._nodes))))
        makers: tuple[tuple[Callable[[], s.Fault], float], ...] = (
            (lambda: s.Database(dice.choice(("lost", "silent", "mute", "slow", "deaf")), some, short), 3.0),
            (lambda: s.Database("slow", (), short), 1.0),
            (
                lambda: s.Foul(dice.choice((0.02, 0.1, 0.4)), dice.choice((0.0, 0.1)), dice.choice((0.0, 0.5)), short),
                3.0,
            ),
            (lambda: s.KillQemu(vm), 2.0),
            (lambda: s.FreezeQemu(vm, None, short), 2.0),
            (lambda: s.FailLaunch(node, 1 + dice.below(2)), 1.5),
            (lambda: s.FailLoad(vm), 1.5),
            (lambda: s.FullDisk(node, short), 1.0),
            (lambda: s.Dirty(vm, dice.choice((0.0, 50e6, 2e9))), 1.0),
            (lambda: s.Bandwidth(node, dice.choice((0.1, 1.0)) * GIGABIT, short), 1.0),
            (lambda: s.KillGuard(node), 2.0),
            (lambda: s.Drift(node, dice.between(-500.0, 500.0)), 0.7),
        )
        return dice.weighted(makers)()

    def _off_for(self, node: str) -> float | None:
        """Seldom for good, and never so that fewer than two are left."""
        may_stay_off = node in self._doomed or len(self._doomed) < len(self._nodes) - 2
        if may_stay_off and self._dice.chance(0.07):
            self._doomed.add(node)
            return None
        return self._dice.choice((2.0, 8.0, 30.0))
