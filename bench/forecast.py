"""What the simulator says of one move: with the guest and the link as they were measured, and production's brains."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.measured import median
from quorate.cli.quiet import no_logs
from quorate.clusapi.identity import GroupId
from quorate.hypervisor.guest_model import GuestModel
from quorate.migration.outgoing import Outcome
from quorate.simulator import steps as s
from quorate.simulator.brains import PRODUCTION
from quorate.simulator.outgoing import OutgoingSession
from quorate.simulator.qemu import Qemu
from quorate.simulator.setup import NodeSetup, Setup, VmSetup
from quorate.simulator.world import START_WITHIN, Options, World

SEEDS: Final = (1, 2, 3, 4, 5)
"""They draw what messages, writes and the start of a QEMU take."""
_PATIENCE: Final = 600.0
_STEP: Final = 0.25


@dataclass(frozen=True, slots=True)
class Move:
    """A move as it was, or as it would be. Times are seconds."""

    total: float
    """From the request until the guest is heard from the destination and the source's QEMU is gone, or until it is
    given up."""
    passes: int
    """Looks for dirty pages (dirty-sync-count) when the source's brain looked last."""
    gap: float
    """For which the guest did not run; 0: it was given up."""
    failure: str = ""
    """Why it came to nothing; empty: it arrived."""


def forecast(guest: GuestModel, link: float, seeds: Sequence[int] = SEEDS) -> Move:
    """Play the move once for each seed; the middle of what comes out."""
    with no_logs():
        moves = [_Stage(guest, link, seed).move() for seed in seeds]
    return Move(
        total=median([move.total for move in moves]),
        passes=round(median([move.passes for move in moves])),
        gap=median([move.gap for move in moves]),
        failure=moves[0].failure,
    )


class _Stage(World):
    """Two nodes and a virtual machine."""

    def __init__(self, guest: GuestModel, link: float, seed: int) -> None:
        vm = VmSetup(
            name="vm1",
            on="node1",
            memory=guest.memory,
            used=guest.memory - guest.zero,
            dirty=guest.dirty_bytes_per_second,
            working_set=guest.dirty_bytes,
        )
        nodes = tuple(NodeSetup(name, bandwidth=link) for name in ("node1", "node2"))
        super().__init__(Setup(nodes, (vm,)), seed, PRODUCTION, Options(settle=False))
        self._vm1 = self.group_called("vm1")
        self._session: OutgoingSession | None = None
        self._ended = 0.0
        self._stood = 0.0
        self._ran = 0.0
        self.laws.on_guest = self._on_guest

    def move(self) -> Move:
        """Come up, move, and tell."""
        try:
            for machine in self.machines.values():
                self.kernel.later(self.dice.between(0.0, START_WITHIN), self._starter(machine))
            self._until(lambda: bool(self.laws.running.get(self._vm1)) and self._doors_are_open())
            asked = self.kernel.now
            self.kernel.later(0.0, lambda: self.people.ask(s.Migrate("vm1", "node2")))
            self._until(lambda: self._ended > 0.0)
            assert self._session is not None, "it has ended"
            brain = self._session.brain
            arrived = brain.outcome is Outcome.DONE
            return Move(
                total=max(self._ended, self._ran) - asked,
                passes=brain.convergence.seen_pass,
                gap=self._ran - self._stood if arrived else 0.0,
                failure="" if arrived else brain.reason,
            )
        finally:
            self.end()

    def on_phase(self, group: GroupId, side: str, phase: str) -> None:
        """Watch the source's side."""
        super().on_phase(group, side, phase)
        if side != "source":
            return
        daemon = self.machine_called("node1").daemon
        found = None if daemon is None else daemon.migrations.outgoing.get(group)
        self._session = found or self._session
        if phase == "ended":
            self._ended = self.kernel.now

    def _on_guest(self, qemu: Qemu, runs: bool) -> None:
        if runs:
            self._ran = self.kernel.now
        else:
            self._stood = self.kernel.now

    def _doors_are_open(self) -> bool:
        daemons = [machine.daemon for machine in self.machines.values()]
        return all(daemon is not None and daemon.has_open_doors for daemon in daemons)

    def _until(self, is_so: Callable[[], bool]) -> None:
        end = self.kernel.now + _PATIENCE
        while not is_so():
            if self.kernel.now >= end:
                raise TimeoutError("the simulated move does not end")
            self.kernel.run(self.kernel.now + _STEP)
