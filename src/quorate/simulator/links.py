"""The migration network: transfers that share the links of their two machines.

Each transfer gets the lesser of what its two links have for it, each link divided evenly among those that use it. Its
sockets take some of it before that: docs/simulator-agreement.md.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorate.clusapi.frozen import replace
from quorate.clusapi.identity import NodeId
from quorate.hypervisor.guest_model import FIRST_LOOK, GuestModel, TransferModel, socket_bytes
from quorate.simulator.kernel import Kernel

if TYPE_CHECKING:
    from quorate.simulator.qemu import Qemu

STUCK: Final = 1.0
"""Bytes per second below which a link counts as cut."""


class Transfer:
    """The memory of one guest on its way."""

    def __init__(self, links: "Links", source: "Qemu", destination: "Qemu", running: bool) -> None:
        """Begin with the first pass."""
        self._links = links
        self.source = source
        self.destination = destination
        self.rate = 0.0
        self.since = links.kernel.now
        self.model = TransferModel.begin(source.guest, 1.0, running=running, first_look=FIRST_LOOK)

    @property
    def is_stuck(self) -> bool:
        """Tell whether nothing moves: a cut link, or a QEMU that stands still."""
        return self.rate < STUCK or self.source.is_still or self.destination.is_still

    def advance(self) -> None:
        """Move what has moved by now."""
        now = self._links.kernel.now
        seconds, self.since = now - self.since, now
        if seconds <= 0 or self.model.completed:
            return
        if not self.is_stuck:
            self.model = self.model.advance(seconds)
        elif self.model.running and self.source.is_running:
            self.model = replace(self.model, running_in_pass=self.model.running_in_pass + seconds)

    def set_running(self, running: bool) -> None:
        """The guest runs, or stands."""
        self.advance()
        self.model = self.model.start_guest() if running else self.model.stop_guest()

    def change_guest(self, guest: GuestModel) -> None:
        """The guest writes faster or slower from now on."""
        self.advance()
        self.model = replace(self.model, guest=guest)

    def hold_back(self, percent: int) -> None:
        """The guest's processors are to be held back."""
        self.advance()
        self.model = self.model.hold_back(percent)

    def change_rate(self, rate: float) -> None:
        """The link carries more, less or nothing from now on."""
        self.rate = rate
        sockets = socket_bytes(rate) if rate >= STUCK else self.model.sockets
        self.model = replace(self.model, bandwidth=max(rate, STUCK), sockets=sockets)

    def take_up(self, rest: TransferModel) -> None:
        """Go on where another connection broke off."""
        self.model = replace(
            rest,
            bandwidth=self.model.bandwidth,
            sockets=self.model.sockets,
            in_sockets=0,
            running=False,
            completed=False,
        )

    def seconds_left(self) -> float:
        """How long the rest takes with the guest standing."""
        return self.model.seconds_to_end if self.rate >= STUCK else float("inf")


class Links:
    """All transfers that are going on."""

    def __init__(self, kernel: Kernel, is_cut: Callable[[NodeId, NodeId], bool]) -> None:
        """Carry nothing; ``is_cut`` tells of the way from one node to another."""
        self.kernel = kernel
        self._is_cut = is_cut
        self._going: dict[Transfer, None] = {}

    def begin(self, source: "Qemu", destination: "Qemu", *, running: bool) -> Transfer:
        """Begin a transfer."""
        transfer = Transfer(self, source, destination, running)
        self._going[transfer] = None
        self.share_anew()
        return transfer

    def is_cut(self, one: NodeId, other: NodeId) -> bool:
        """Tell whether nothing gets through between two nodes."""
        return self._is_cut(one, other) or self._is_cut(other, one)

    def end(self, transfer: Transfer) -> None:
        """A transfer is over, in whatever way."""
        if transfer in self._going:
            transfer.advance()
            del self._going[transfer]
            self.share_anew()

    def share_anew(self) -> None:
        """Something has changed about the links, or about who uses them."""
        if not self._going:
            return
        users: dict[NodeId, int] = {}
        for transfer in self._going:
            for qemu in (transfer.source, transfer.destination):
                users[qemu.machine.node] = users.get(qemu.machine.node, 0) + 1
        for transfer in tuple(self._going):
            transfer.advance()
            here, there = transfer.source.machine, transfer.destination.machine
            rate = min(here.link_rate / users[here.node], there.link_rate / users[there.node])
            if self.is_cut(here.node, there.node):
                rate = 0.0
            if rate != transfer.rate:
                transfer.change_rate(rate)
            transfer.source.expect_completion()
