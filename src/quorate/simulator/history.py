"""Random histories: a cluster, what people do with it, and what goes wrong meanwhile, all of it from one seed.

A history goes on for half an hour of the world's time. Things happen in episodes (`plots.py`): some seconds in which
commands and faults fall upon each other, then a while in which the cluster comes to rest, or does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from quorate.simulator import steps as s
from quorate.simulator.aimed_plots import AimedAuthor, Mood
from quorate.simulator.brains import PRODUCTION, Brains
from quorate.simulator.dice import Dice
from quorate.simulator.plots import Author
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
    """So many at least; those that wait for a phase that never comes are not counted."""
    commands: int = 50
    """So many at least."""
    episodes: int = 6
    most: float = 10.0
    """Seconds over which an episode goes at most."""
    mood: Mood | None = None
    """What its plots are about; None: the seed says it."""


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
    dice = Dice(seed, "history")
    mood = Mood.of(seed) if shape.mood is None else shape.mood
    if mood is not Mood.ANY:
        shape = replace(shape, nodes=(3, 4), vms=(3, 5), episodes=10)
    setup = _make_setup(dice, shape)
    author = Author(dice, setup) if mood is Mood.ANY else AimedAuthor(dice, setup, mood)
    until = 60.0 * shape.minutes
    gap = (until - 20.0 - shape.most) / (shape.episodes - 1)
    for number in range(shape.episodes):
        late = dice.between(0.0, gap / 3) if number < shape.episodes - 1 else 0.0
        length = shape.most * dice.draw() * dice.draw()
        author.write(20.0 + gap * number + late, length, shape.faults, shape.commands, shape.episodes - number)
    return History(setup, author.story(until), seed, until)


def _make_setup(dice: Dice, shape: Shape) -> Setup:
    more = shape.nodes[1] - shape.nodes[0] + 1
    number = shape.nodes[0] + min(dice.below(more), dice.below(more))  # small clusters have the harder choices
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
            vms.append(_make_vm(dice, f"vm{index + 1}", names, size))
    properties = {
        "SameSubnetDelay": dice.choice((1000, 2000)),
        "SameSubnetThreshold": dice.choice((3, 5, 5, 8)),
        "ResiliencyDefaultPeriod": dice.choice((5, 15, 30, 240)),
        "MaximumParallelMigrations": dice.choice((1, 1, 2, 4)),
    }
    if dice.chance(0.2):
        properties["QuarantineThreshold"] = dice.choice((0, 1, 2))
    return Setup(nodes, tuple(vms), properties)


def _make_vm(dice: Dice, name: str, nodes: Sequence[str], size: int) -> VmSetup:
    possible = tuple(sorted(dice.some(nodes, max(2, len(nodes) - 1)))) if dice.chance(0.1) else None
    on = dice.choice(possible if possible is not None else nodes)
    used = int(size * dice.between(0.1, 1.0))
    dirty = dice.choice((0.0, 1e6, 20e6, 100e6, 100e6, 1e9))
    return VmSetup(
        name,
        on,
        size,
        used=used,
        dirty=dirty,
        post_copy=dirty >= 100e6,
        working_set=int(size * dice.between(0.02, 0.5)),
        online=dice.chance(0.9),
        priority=dice.choice((0, 1000, 2000, 2000, 3000)) if dice.chance(0.3) else dice.choice((1000, 2000, 3000)),
        possible=possible,
        preferred=(dice.choice(nodes),) if dice.chance(0.2) and possible is None else (),
        classes=("a",) if dice.chance(0.2) else (),
        failback=dice.chance(0.3),
        locked=dice.chance(0.03),
    )
