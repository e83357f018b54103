"""The networks between nodes: what is said arrives late, twice, out of order, or not at all.

The cluster's network carries questions between daemons and their answers, the migration network memory (`links.py`);
the way to the database is in `store.py`. Each of the three can be cut by itself.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.status import Status
from quorate.simulator.dice import Dice
from quorate.simulator.kernel import Future, Kernel, Life

if TYPE_CHECKING:
    from quorate.simulator.machine import Machine

LATENCY: Final = (0.0002, 0.003)
"""Seconds that a message takes."""


class Unreachable(FaultError):
    """A node's daemon cannot be reached, or did not answer in time. Whether it acted is not known."""

    def __init__(self, sentence: str) -> None:
        """Say what was tried."""
        super().__init__(Status.RPC_S_SERVER_UNAVAILABLE, sentence)


class Network:
    """What carries questions and answers between daemons."""

    def __init__(self, kernel: Kernel, machines: dict[NodeId, "Machine"], dice: Dice) -> None:
        """Carry everything, quickly."""
        self._kernel = kernel
        self._machines = machines
        self._draw = dice.draw
        self.cuts: dict[tuple[NodeId, NodeId], int] = {}
        """How many cuts there are between a sender and a receiver."""
        self.memory_cuts: dict[tuple[NodeId, NodeId], int] = {}
        """The same of the migration network."""
        self.asked = 0
        """How many questions were put, answers not counted."""
        self.loss = 0.0
        self.duplication = 0.0
        self.delay = 0.0

    def is_memory_cut(self, sender: NodeId, receiver: NodeId) -> bool:
        """Tell whether the migration network is cut between two nodes."""
        return bool(self.memory_cuts.get((sender, receiver)))

    def call(
        self, life: Life, sender: NodeId, receiver: NodeId, kind: str, message: object, timeout: float
    ) -> Future[Any]:
        """Ask a node's daemon; comes as its answer, its refusal, or `Unreachable`."""
        self.asked += 1
        answer: Future[Any] = Future(self._kernel)
        timer = life.later(timeout, lambda: answer.fail(Unreachable("it did not answer in time")))

        def conclude(act: Callable[[], None]) -> None:
            def hear() -> None:
                timer.cancel()
                act()

            self._carry(receiver, sender, lambda: life.reach(hear))

        def arrive() -> None:
            machine = self._machines.get(receiver)
            if machine is None or not machine.is_on or machine.is_suspended:
                return
            daemon = machine.daemon
            if daemon is None or not daemon.has_open_doors:
                conclude(lambda: answer.fail(Unreachable("its daemon is not there")))
                return
            daemon.life.reach(
                lambda: self._handle(daemon.life, daemon.on_peer, sender, kind, message, answer, conclude)
            )

        self._carry(sender, receiver, arrive)
        return answer

    def _handle(
        self,
        life: Life,
        on_peer: Callable[[str, NodeId, object], object],
        sender: NodeId,
        kind: str,
        message: object,
        answer: Future[Any],
        conclude: Callable[[Callable[[], None]], None],
    ) -> None:
        try:
            result = on_peer(kind, sender, message)
        except ClusterError as error:
            refusal = error
            conclude(lambda: answer.fail(refusal))
            return
        if not isinstance(result, Coroutine):
            conclude(lambda: answer.set(result))
            return

        async def work() -> None:
            try:
                value = await result
            except ClusterError as error:
                refused = error
                conclude(lambda: answer.fail(refused))
            else:
                conclude(lambda: answer.set(value))

        life.spawn(work(), f"an answer to {kind}")

    def _carry(self, sender: NodeId, receiver: NodeId, act: Callable[[], None]) -> None:
        if self.cuts.get((sender, receiver)) or (self.loss and self._draw() < self.loss):
            return
        times = 2 if self.duplication and self._draw() < self.duplication else 1
        for _ in range(times):
            late = self.delay * self._draw() if self.delay else 0.0
            latency = LATENCY[0] + self._draw() * (LATENCY[1] - LATENCY[0]) + late
            self._kernel.at(self._kernel.now + latency, act)
