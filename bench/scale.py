"""How what a cluster costs grows with its nodes and virtual machines: ``python -m bench.scale``.

Clusters are rehearsed in the simulator, where production's brains decide and production's transactions are written. CPU
time is measured, so that a busy machine matters less; counts are exact. The tables of docs/scale.md are written anew,
between their marks. Each size has a process of its own, for its memory.
"""

import argparse
import gc
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from quorate.cli.quiet import no_logs
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.cluster.coordinator_work import Looked
from quorate.cluster.drain import plan_drain
from quorate.cluster.failover import plan_take_over
from quorate.cluster.moves import Drain as DrainRecord
from quorate.cluster.moves import PutMove
from quorate.cluster.picture import Picture
from quorate.cluster.queue import plan_queue
from quorate.engine.pictures import Pictures
from quorate.simulator.inventory import GroupFact, Inventory, NodeFact, Seeded, seed_setup
from quorate.simulator.rehearsal import RehearsedWorld
from quorate.simulator.rehearsed import Drain, Lose, Rehearsed
from quorate.simulator.setup import GIB

if TYPE_CHECKING:
    from quorate.engine.cluster_clock import ClusterClock as EngineClock
    from quorate.engine.view import ClusterView

DOCUMENT: Final = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
BEGIN, END = "<!-- measured by python -m bench.scale -->", "<!-- end -->"
SIZES: Final = ((8, 200), (16, 500), (64, 8000), (256, 32_000), (1000, 100_000))
"""Nodes and virtual machines."""
WINDOWS: Final = (64, 8000)
"""Where Windows clusters end: there four nodes are lost, and eight are drained, one after the other."""
LINK: Final = 1.25e9
"""Bytes per second."""
LOOKS: Final = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured at one size. Times are CPU seconds unless it is said."""

    nodes: int
    vms: int
    look: float
    """A look of the coordinator at a picture in which nothing is to be done."""
    loss: float
    """Deciding where all virtual machines of a lost node go."""
    queue: float
    """Deciding what begins while a whole node waits in the queue."""
    up_cpu: float
    """Making the world, and having all daemons come up in it."""
    up_memory: int
    """Bytes at most until then."""
    lost: int
    """Virtual machines that were restarted, when so many nodes were lost together:"""
    lost_nodes: int
    lost_seconds: float
    """Of the world, until the last one runs again."""
    lost_transactions: float
    """For each virtual machine, renewals of leases not counted."""
    lost_cpu: float
    """The loss alone, in a world that is up."""
    lost_memory: int
    drained: int = 0
    """Virtual machines that were moved, when so many nodes were drained one after the other:"""
    drained_nodes: int = 0
    drained_seconds: float = 0.0
    drained_transactions: float = 0.0
    drained_questions: float = 0.0
    drained_cpu: float = 0.0
    """The drain alone, in a world that is up."""


def make_inventory(nodes: int, vms: int, seed: int = 1) -> Inventory:
    """Make a cluster of so many nodes and virtual machines that has room for some losses."""
    dice = random.Random(seed)
    names = tuple(f"node{number}" for number in range(1, nodes + 1))
    groups = tuple(
        GroupFact(
            id=f"{number:08}",
            name=f"vm{number}",
            node=names[number % nodes],
            memory=dice.choice((2, 4, 6)) * GIB,
            possible=names,
            priority=dice.choice((1000, 2000, 3000)),
            rate=LINK,
            dirty_rate=dice.choice((5e6, 20e6, 60e6)),
        )
        for number in range(vms)
    )
    room = (vms * 4 // nodes) * 14 // 10 * GIB
    return Inventory(tuple(NodeFact(name, NodeState.UP, NodeStatus.NORMAL, room) for name in names), groups)


def main() -> int:
    """Measure, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--up-to", type=int, default=SIZES[-1][0], metavar="NODES", help="leave larger ones out")
    parser.add_argument("--one", nargs=2, type=int, metavar=("NODES", "VMS"), help="only this size; prints JSON")
    arguments = parser.parse_args()
    if arguments.one:
        nodes, vms = arguments.one
        sys.stdout.write(json.dumps(asdict(measure(nodes, vms))) + "\n")
        return 0
    found = []
    for nodes, vms in SIZES:
        if nodes <= arguments.up_to:
            found.append(_in_a_process(nodes, vms))
            sys.stdout.write(f"{found[-1]}\n")
            sys.stdout.flush()
    write_down(found)
    return 0


def write_down(found: list[Measured]) -> None:
    """Write the tables into the document."""
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
    tables = "\n".join(_tables(found))
    DOCUMENT.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def _in_a_process(nodes: int, vms: int) -> Measured:
    done = subprocess.run(
        [sys.executable, "-m", "bench.scale", "--one", str(nodes), str(vms)], capture_output=True, text=True, check=True
    )
    return Measured(**json.loads(done.stdout))


def measure(nodes: int, vms: int) -> Measured:
    """Measure one size."""
    seeded = seed_setup(make_inventory(nodes, vms))
    return _drain(seeded, _lose(seeded))


def _lose(seeded: Seeded) -> Measured:
    """Measure the brains in a cluster in which all is well, and then the loss of nodes."""
    names, vms = tuple(node.name for node in seeded.setup.nodes), len(seeded.setup.vms)
    many_nodes = 4 if (len(names), vms) == WINDOWS else 1
    began = time.process_time()
    with _up(seeded) as world:
        up_cpu, up_memory = time.process_time() - began, _memory()
        look, loss, queue = _decisions(world)
        began = time.process_time()
        told = world.rehearse(Lose(names[:many_nodes]))
        cpu = time.process_time() - began
    _check(told)
    many = max(1, len(told.journeys))
    renewals = (len(names) - many_nodes) * (told.seconds + 1)
    each = max(0.0, told.cost.transactions - renewals) / many
    return Measured(
        len(names), vms, look, loss, queue, up_cpu, up_memory, many, many_nodes, told.seconds, each, cpu, _memory(),
    )  # fmt: skip


def _drain(seeded: Seeded, found: Measured) -> Measured:
    names = tuple(node.name for node in seeded.setup.nodes)
    many_nodes = 8 if (found.nodes, found.vms) == WINDOWS else 1
    with _up(seeded) as world:
        began = time.process_time()
        told = world.rehearse(Drain(names[:many_nodes], in_turn=True))
        cpu = time.process_time() - began
    _check(told)
    many = max(1, len(told.journeys))
    return replace(
        found,
        drained=many,
        drained_nodes=many_nodes,
        drained_seconds=told.seconds,
        drained_transactions=told.cost.transactions / many,
        drained_questions=told.cost.questions / many,
        drained_cpu=cpu,
    )


def _check(told: Rehearsed) -> None:
    """See that everything has arrived: what was measured would be worth nothing else."""
    failed = [one.vm for one in told.journeys if not one.has_arrived]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(told.journeys)} virtual machines have not arrived: {failed[:5]}")


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _up(seeded: Seeded) -> Iterator[RehearsedWorld]:
    """A world in which everything runs; rubbish is not looked for meanwhile, as in a rehearsal."""
    with no_logs():
        gc.disable()
        world = RehearsedWorld(seeded, 1)
        try:
            world.come_up()
            yield world
        finally:
            world.end()
            gc.enable()


def _decisions(world: RehearsedWorld) -> tuple[float, float, float]:
    """How long the brains think, on a picture of a cluster in which all is well."""
    daemon = next(m.daemon for m in world.machines.values() if m.daemon and m.daemon.coordination.is_acting)
    brains, now = daemon.coordination, daemon.machine.clock.boottime()
    view, clock = cast("ClusterView", daemon.view), cast("EngineClock", daemon.clock)
    # As production looks: at every node each time.
    pictures = Pictures(
        daemon.node, view, daemon.membership, clock, now=daemon.machine.clock.boottime, groups=world.group_pictures
    )
    picture = pictures.current()

    def look() -> None:
        seen = pictures.current()
        brains.brain.step(Looked(seen), now)
        brains.movements.step(Looked(seen), now)

    first = next(node for node in picture.nodes.values() if node.id != picture.me)
    assert first.lease is not None, "all are up"
    dead = replace(first, state=NodeState.DOWN, lease=replace(first.lease, is_ended=True))
    loss = replace(picture, nodes={**picture.nodes, first.id: dead})
    waiting = _with_queue(picture, DrainRecord(first.id, "drain", picture.clock))
    return _time(look), _time(lambda: plan_take_over(loss)), _time(lambda: plan_queue(waiting))


def _with_queue(picture: Picture, drain: DrainRecord) -> Picture:
    """A picture in which everything on a node waits to leave it."""
    drained = replace(picture, drains={drain.node: drain})
    wishes = (change.move for change in plan_drain(drained, drain).changes if isinstance(change, PutMove))
    return replace(drained, moves={move.group: move for move in wishes})


def _time(act: Callable[[], object]) -> float:
    act()
    began = time.process_time()
    for _ in range(LOOKS):
        act()
    return (time.process_time() - began) / LOOKS


def _tables(found: list[Measured]) -> list[str]:
    return [
        "| nodes | virtual machines | a look with nothing to do | deciding a node's loss | deciding a full queue |",
        "|---|---|---|---|---|",
        *(
            f"| {one.nodes} | {one.vms} | {_ms(one.look)} | {_ms(one.loss)} | {_ms(one.queue)} |" for one in found
        ),
        "",
        "| nodes | restarted | after | transactions each | moved | after | transactions each | questions each "
        "| renewals a second | news a second |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {one.nodes} | {one.lost} | {one.lost_seconds:.1f} s | {one.lost_transactions:.1f} | {one.drained} | "
            f"{one.drained_seconds:.0f} s | {one.drained_transactions:.1f} | {one.drained_questions:.1f} | "
            f"{one.nodes} | {one.nodes**2} |"
            for one in found
        ),
        "",
        "| nodes | virtual machines | coming up | loss of | is simulated in | drain of | is simulated in | of memory |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {one.nodes} | {one.vms} | {one.up_cpu:.1f} s | {one.lost_nodes} | {one.lost_cpu:.1f} s | "
            f"{one.drained_nodes} | {one.drained_cpu:.1f} s | {one.lost_memory / (1 << 20):.0f} MiB |"
            for one in found
        ),
    ]  # fmt: skip


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


if __name__ == "__main__":
    sys.exit(main())
