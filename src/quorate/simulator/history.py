"""Random histories: a cluster, what people do with it, and what goes wrong meanwhile, all of it from one seed.

Things happen in episodes: some seconds in which commands and faults fall upon each other, then a while in which the
cluster comes to rest, or does not. A fault often waits for a phase of a migration that was asked for just before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from quorate.migration import incoming, outgoing
from quorate.simulator import steps as s
from quorate.simulator.brains import PRODUCTION, Brains
from quorate.simulator.dice import Dice
from quorate.simulator.setup import GIB, GIGABIT, NodeSetup, Setup, VmSetup
from quorate.simulator.world import Options, Run, run

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """How long and how wild histories are."""

    nodes: tuple[int, int] = (3, 7)
    vms: tuple[int, int] = (3, 10)
    minutes: float = 30.0
    faults: int = 20
    commands: int = 50
    episodes: int = 10
    most: float = 12.0
    """Seconds over which an episode goes at most."""


@dataclass(frozen=True, slots=True)
class History:
    """A history that can be played."""

    setup: Setup
    steps: tuple[s.Step, ...]
    seed: int
    until: float


def play(seed: int, shape: Shape = Shape(), *, brains: Brains = PRODUCTION, options: Options | None = None) -> Run:
    """Make a history and play it."""
    history = make(seed, shape)
    return run(history.setup, history.steps, seed, history.until, brains=brains, options=options or Options())


def make(seed: int, shape: Shape = Shape()) -> History:
    """Make the history of a seed."""
    return _Author(Dice(seed, "history"), seed, shape).write()


_SOURCE: Final = tuple(phase.value for phase in outgoing.Phase if phase is not outgoing.Phase.QUEUED)
_DESTINATION: Final = tuple(phase.value for phase in incoming.Phase)


class _Author:
    """Writes one history."""

    def __init__(self, dice: Dice, seed: int, shape: Shape) -> None:
        self.dice = dice
        self.seed = seed
        self.shape = shape
        self.setup = self._make_setup()
        self.nodes = [node.name for node in self.setup.nodes]
        self.vms = [vm.name for vm in self.setup.vms]
        self.doomed: list[str] = []
        self.steps: list[s.Step] = []

    def write(self) -> History:
        shape = self.shape
        until = 60.0 * shape.minutes
        gap = (until - 20.0 - shape.most) / (shape.episodes - 1)
        faults = self._shares(shape.faults)
        commands = self._shares(shape.commands)
        for number in range(shape.episodes):
            begin = 20.0 + gap * number + (self.dice.between(0.0, gap / 3) if number < shape.episodes - 1 else 0.0)
            self._episode(begin, commands[number], faults[number])
        self.steps.sort(key=_moment)
        return History(self.setup, tuple(self.steps), self.seed, until)

    def _shares(self, number: int) -> list[int]:
        shares = [0] * self.shape.episodes
        for _ in range(number):
            shares[self.dice.below(len(shares))] += 1
        return shares

    # --- the setup ---------------------------------------------------------------------------------------------------

    def _make_setup(self) -> Setup:
        dice, shape = self.dice, self.shape
        number = shape.nodes[0] + dice.below(shape.nodes[1] - shape.nodes[0] + 1)
        memory = dice.choice((1, 2, 2, 4)) * GIB
        nodes = tuple(
            NodeSetup(
                f"node{index + 1}",
                memory,
                drift=dice.between(-500.0, 500.0),
                booted=dice.between(10.0, 1e6),
                bandwidth=dice.choice((5, 10, 10, 25)) * GIGABIT,
            )
            for index in range(number)
        )
        names = [node.name for node in nodes]
        count = shape.vms[0] + dice.below(shape.vms[1] - shape.vms[0] + 1)
        room = memory * (number - 1)
        vms = []
        for index in range(count):
            size = dice.choice((64, 128, 256, 512, 1024)) * MIB
            if size <= room:
                room -= size
                vms.append(self._make_vm(f"vm{index + 1}", names, size))
        properties = {
            "SameSubnetDelay": dice.choice((1000, 2000)),
            "SameSubnetThreshold": dice.choice((3, 5, 5, 8)),
            "ResiliencyDefaultPeriod": dice.choice((5, 15, 30, 240)),
            "MaximumParallelMigrations": dice.choice((1, 1, 2, 4)),
        }
        return Setup(nodes, tuple(vms), properties)

    def _make_vm(self, name: str, nodes: Sequence[str], size: int) -> VmSetup:
        dice = self.dice
        possible = tuple(sorted(dice.some(nodes, max(2, len(nodes) - 1)))) if dice.chance(0.1) else None
        on = dice.choice(possible if possible is not None else nodes)
        writes = dice.choice((0.0, 1e6, 20e6, 100e6, 100e6, 1e9))
        return VmSetup(
            name,
            on,
            size,
            used=int(size * dice.between(0.1, 1.0)),
            dirty=writes,
            working_set=int(size * dice.between(0.02, 0.5)),
            online=dice.chance(0.9),
            priority=dice.choice((1000, 2000, 2000, 3000)),
            possible=possible,
            preferred=(dice.choice(nodes),) if dice.chance(0.2) and possible is None else (),
            classes=("a",) if dice.chance(0.2) else (),
            failback=dice.chance(0.3),
        )

    # --- episodes ----------------------------------------------------------------------------------------------------

    def _episode(self, begin: float, commands: int, faults: int) -> None:
        dice = self.dice
        length = self.shape.most * dice.draw() * dice.draw()
        migrated = []
        for _ in range(commands):
            at = begin + dice.between(0.0, length)
            command = self._command()
            self.steps.append(s.Step(s.At(at), command))
            if isinstance(command, s.Migrate):
                migrated.append(command.vm)
        for _ in range(faults):
            self.steps.append(s.Step(self._when(begin, length, migrated), self._fault()))

    def _when(self, begin: float, length: float, migrated: Sequence[str]) -> s.When:
        dice = self.dice
        if not migrated or dice.chance(0.5):
            return s.At(begin + dice.between(0.0, length + 1.0))
        after = dice.choice((0.0, 0.001, 0.003, 0.01, 0.1, 1.0)) * dice.draw()
        side = "source" if dice.chance(0.6) else "destination"
        phase = dice.choice(_SOURCE if side == "source" else _DESTINATION)
        return s.On(dice.choice(migrated), phase, "source" if side == "source" else "destination", after)

    def _command(self) -> s.Command:
        dice = self.dice
        vm, node = dice.choice(self.vms), dice.choice(self.nodes)
        to = dice.choice(self.nodes) if dice.chance(0.6) else None
        makers: tuple[tuple[Callable[[], s.Command], float], ...] = (
            (lambda: s.Migrate(vm, to), 16.0),
            (lambda: s.Cancel(vm), 3.0),
            (lambda: s.Start(vm), 6.0),
            (lambda: s.Stop(vm, dice.choice(("save", "shut down", "turn off"))), 3.0),
            (lambda: s.Move(vm, to), 3.0),
            (lambda: s.Drain(node, None, dice.chance(0.6), dice.chance(0.3)), 3.0),
            (lambda: s.Resume(node, dice.choice(("none", "immediate", "policy"))), 6.0),
            (lambda: s.Pause(node), 1.0),
            (lambda: s.ConfirmOff(node), 1.0),
            (lambda: s.SetCluster("SameSubnetThreshold", dice.choice((3, 5, 10))), 0.5),
        )
        return dice.weighted(makers)()

    def _fault(self) -> s.Fault:
        dice = self.dice
        node, vm = dice.choice(self.nodes), dice.choice(self.vms)
        other = dice.choice([name for name in self.nodes if name != node])
        short = dice.choice((0.3, 1.0, 2.5, 4.0, 7.0, 12.0))
        some = tuple(dice.some(self.nodes, 1 + dice.below(len(self.nodes)))) if dice.chance(0.7) else ()
        mode: s.DatabaseMode = dice.choice(("lost", "silent", "silent", "mute", "slow", "deaf"))
        network: s.Network = dice.choice(("cluster", "migration", "storage", "all"))
        makers: tuple[tuple[Callable[[], s.Fault], float], ...] = (
            (lambda: s.KillDaemon(node, dice.choice((0.2, 1.0, 3.0, short))), 6.0),
            (lambda: s.PauseDaemon(node, short), 4.0),
            (lambda: s.PowerOff(node, self._off_for(node)), 4.0),
            (lambda: s.Database(mode, some, short), 6.0),
            (lambda: s.Cut(network, node, other, dice.chance(0.3), short), 4.0),
            (lambda: s.Cut(network, node, None, dice.chance(0.2), short), 3.0),
            (
                lambda: s.Foul(dice.choice((0.02, 0.1, 0.4)), dice.choice((0.0, 0.1)), dice.choice((0.0, 0.5)), short),
                3.0,
            ),
            (lambda: s.KillQemu(vm), 2.0),
            (lambda: s.FreezeQemu(vm, None, short), 2.0),
            (lambda: s.FailLaunch(node), 1.0),
            (lambda: s.FailLoad(vm), 1.5),
            (lambda: s.FullDisk(node, short), 1.0),
            (lambda: s.Dirty(vm, dice.choice((0.0, 50e6, 2e9))), 1.0),
            (lambda: s.Bandwidth(node, dice.choice((0.1, 1.0)) * GIGABIT, short), 1.0),
            (lambda: s.Suspend(node, short), 1.5),
            (lambda: s.KillGuard(node), 2.0),
            (lambda: s.Drift(node, dice.between(-500.0, 500.0)), 0.5),
        )
        return dice.weighted(makers)()

    def _off_for(self, node: str) -> float | None:
        """Seldom for good, and never so that fewer than two are left."""
        dice = self.dice
        if len(self.doomed) < len(self.nodes) - 2 and dice.chance(0.1):
            if node not in self.doomed:
                self.doomed.append(node)
            return None
        return dice.choice((2.0, 8.0, 30.0))


def _moment(step: s.Step) -> float:
    return step.when.seconds if isinstance(step.when, s.At) else 0.0


def shorter(history: History, steps: Sequence[s.Step]) -> History:
    """Give the same history with other steps."""
    return replace(history, steps=tuple(steps))
