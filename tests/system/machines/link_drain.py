"""Guests that leave a node all together over one link: how long that takes, and how many moved at a time."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.system.machines.guests import Guest, Turn, guest_of
from tests.system.machines.machine_cluster import MachineCluster

from quorate.clusapi.identity import VmId

SOURCE, DESTINATION = "node1", "node2"


@dataclass(frozen=True, slots=True)
class LinkDrain:
    """What was seen of it."""

    seconds: float
    """From the command until the last guest ran on the other node."""
    sent: int
    """Bytes of memory that went over the link, as the sources counted them."""
    at_a_time: int
    """The most moves that were under way at one moment."""

    def ratio(self, bytes_per_second: float) -> float:
        """How many times longer it took than the link takes for these bytes."""
        return self.seconds / (self.sent / bytes_per_second)


@contextmanager
def crowd(cluster: MachineCluster, count: int, memory: str, **guest: int) -> Iterator[tuple[Guest, ...]]:
    """So many guests of one kind on the source."""
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(guest_of(cluster, f"crowd{number:02}", SOURCE, memory, **guest))
            for number in range(count)
        )


def begin(cluster: MachineCluster) -> float:
    """Drain the source; the moment at which that was asked for, of time.monotonic()."""
    began = time.monotonic()
    cluster.quorate(DESTINATION, "--cluster", cluster.directory, "node", "drain", SOURCE)
    return began


def arrived(cluster: MachineCluster, guests: Sequence[Guest]) -> int:
    """How many run on the destination, and nowhere else: processes are looked at, which costs no daemon anything."""
    there = _of(cluster, DESTINATION, guests) - _of(cluster, SOURCE, guests)
    return len(there)


def _of(cluster: MachineCluster, node: str, guests: Sequence[Guest]) -> set[VmId]:
    lines = "\n".join(_command_lines(cluster, node))
    return {VmId(guest.vm_id) for guest in guests if guest.vm_id in lines}


def _command_lines(cluster: MachineCluster, node: str) -> Iterator[str]:
    listed = cluster.fabric[node].run(["cat", *(f"/proc/{pid}/cmdline" for pid in cluster.qemu_pids(node))])
    yield listed.stdout.replace("\0", " ")


def finish(cluster: MachineCluster, guests: Sequence[Guest], began: float) -> LinkDrain:
    """Wait until all are there, and tell what the logs say of it."""
    cluster.wait(lambda: arrived(cluster, guests) == len(guests), 600, "all have arrived")
    seconds = time.monotonic() - began
    turns = [guest.turns(SOURCE) for guest in guests]
    return LinkDrain(seconds, _sent(cluster, guests), most_at_a_time(turns))


def most_at_a_time(by_guest: Sequence[Sequence[Turn]]) -> int:
    """The most moves that were under way at one moment, by the phases of each guest on its source.

    A move is over with its guest elsewhere, or when it came to nothing. Who was killed just then has not written the
    former, but its successor writes that the old process is gone.
    """
    changes: list[tuple[float, int]] = []
    for turns in by_guest:
        is_moving = False
        for turn in turns:
            begins, ends = turn.before == "queued", turn.after in ("ending image", "ended")
            if begins or (ends and is_moving):
                changes.append((turn.at, 1 if begins else -1))
                is_moving = begins
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def _sent(cluster: MachineCluster, guests: Sequence[Guest]) -> int:
    names = {guest.name for guest in guests}
    found = 0
    for line in (cluster.state(SOURCE) / "daemon.log").read_text(errors="replace").splitlines():
        if '"migration figures"' in line and (told := json.loads(line)).get("vm") in names:
            found += int(told["bytes"])
    return found
