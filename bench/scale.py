"""How what a cluster costs grows with its nodes and virtual machines: ``python -m bench.scale``.

Clusters are rehearsed in the simulator, where production's brains decide and production's transactions are written. CPU
time is measured, so that a busy machine matters less; counts are exact. The tables of docs/scale.md are written anew,
between their marks. Each size has a process of its own, for its memory.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from quorate.cli.quiet import no_logs
from quorate.clusapi.states import NodeState, NodeStatus
from quorate.cluster.coordinator_work import Looked
from quorate.cluster.drain import plan_drain
from quorate.cluster.failover import plan_take_over
from quorate.cluster.moves import Drain as DrainRecord
from quorate.cluster.moves import PutMove
from quorate.cluster.picture import Picture
from quorate.cluster.queue import plan_queue
from quorate.simulator.inventory import GroupFact, Inventory, NodeFact, Seeded, seed_setup
from quorate.simulator.rehearsal import RehearsedWorld, rehearse
from quorate.simulator.rehearsed import Drain, Lose
from quorate.simulator.setup import GIB

DOCUMENT: Final = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
BEGIN, END = "<!-- measured by python -m bench.scale -->", "<!-- end -->"
SIZES: Final = ((8, 200), (16, 500), (64, 8000), (256, 25_000), (1000, 100_000))
"""Nodes and virtual machines."""
WINDOWS: Final = (64, 8000)
"""Where Windows clusters end: there four nodes are lost, and eight are drained, one after the other."""
LINK: Final = 1.25e9
"""Bytes per second."""
LOOKS: Final = 20


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
    lost: int
    lost_seconds: float
    """Of the world, until the last one runs again."""
    lost_transactions: float
    """For each virtual machine, renewals of leases not counted."""
    lost_cpu: float
    lost_memory: int
    """Bytes at most."""
    drained: int = 0
    drained_seconds: float = 0.0
    drained_transactions: float = 0.0
    drained_questions: float = 0.0
    drained_cpu: float = 0.0


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
    with no_logs():
        seeded = seed_setup(make_inventory(nodes, vms))
        names = tuple(node.name for node in seeded.setup.nodes)
        lost_nodes, drained_nodes = (4, 8) if (nodes, vms) == WINDOWS else (1, 1)
        began = time.process_time()
        lost = rehearse(seeded, Lose(names[:lost_nodes]))
        lost_cpu = time.process_time() - began
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        many = max(1, len(lost.journeys))
        renewals = nodes * (lost.seconds + 1)
        look, loss, queue = _decisions(seeded)
        of_loss = Measured(
            nodes, vms, look, loss, queue, many, lost.seconds, max(0.0, lost.cost.transactions - renewals) / many,
            lost_cpu, memory,
        )  # fmt: skip
        began = time.process_time()
        drained = rehearse(seeded, Drain(names[:drained_nodes], in_turn=True))
        cpu = time.process_time() - began
        arrived = max(1, len(drained.journeys))
    return replace(
        of_loss,
        drained=arrived,
        drained_seconds=drained.seconds,
        drained_transactions=drained.cost.transactions / arrived,
        drained_questions=drained.cost.questions / arrived,
        drained_cpu=cpu,
    )


def _decisions(seeded: Seeded) -> tuple[float, float, float]:
    """How long the brains think, on a picture of a cluster in which all is well."""
    world = RehearsedWorld(seeded, 1)
    world.is_calm = False  # as production looks: at every node each time
    try:
        world.come_up()
        daemon = next(m.daemon for m in world.machines.values() if m.daemon and m.daemon.coordination.is_acting)
        picture, brains, now = daemon.picture(), daemon.coordination, daemon.machine.clock.boottime()

        def look() -> None:
            brains.brain.step(Looked(daemon.picture()), now)
            brains.movements.step(Looked(picture), now)

        first = next(node for node in picture.nodes.values() if node.id != picture.me)
        assert first.lease is not None, "all are up"
        dead = replace(first, state=NodeState.DOWN, lease=replace(first.lease, is_ended=True))
        loss = replace(picture, nodes={**picture.nodes, first.id: dead})
        waiting = _with_queue(picture, DrainRecord(first.id, "drain", picture.clock))
        return _time(look), _time(lambda: plan_take_over(loss)), _time(lambda: plan_queue(waiting))
    finally:
        world.end()


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
        "| nodes | restarted | after | transactions each | moved | transactions each | questions each "
        "| renewals a second | news a second |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {one.nodes} | {one.lost} | {one.lost_seconds:.1f} s | {one.lost_transactions:.1f} | {one.drained} | "
            f"{one.drained_transactions:.1f} | {one.drained_questions:.1f} | {one.nodes} | {one.nodes**2} |"
            for one in found
        ),
        "",
        "| nodes | virtual machines | the loss is simulated in | the drain is simulated in | of memory |",
        "|---|---|---|---|---|",
        *(
            f"| {one.nodes} | {one.vms} | {one.lost_cpu:.1f} s | {one.drained_cpu:.1f} s | "
            f"{one.lost_memory / (1 << 20):.0f} MiB |"
            for one in found
        ),
    ]  # fmt: skip


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


if __name__ == "__main__":
    sys.exit(main())
