"""Post-copy of the fake driver's machines: the guest runs at the destination while its pages follow.

What QEMU was measured to do: the source stands before the switch until it is let go on, can be cancelled until then,
and never runs the guest again afterwards. A cut connection leaves each side with what it has; the guest of the
destination stands still over the first page that it misses.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.hypervisor.guest_model import TransferModel
from quorate.hypervisor.transfer import MigrationStatus

if TYPE_CHECKING:
    from quorate.hypervisor.fake_machine import FakeMachine

_TICK = 0.002
_LOAD_SECONDS = 0.005


class FakePostCopy:
    """One machine's part in it, on either side."""

    def __init__(self, machine: FakeMachine) -> None:
        """Take no part until a transfer may switch."""
        self._machine = machine
        self._peer: FakeMachine | None = None
        self._may = self._begun = False
        self._rest: TransferModel | None = None

    def prepare(self, may: bool) -> None:
        """Begin a transfer that may switch, or may not."""
        self._may, self._begun, self._rest, self._peer = may, False, None, None

    # --- the switch ---

    @property
    def is_due(self) -> bool:
        """Answer whether the guest stands and the transfer was told to switch then."""
        return self._begun and not self._machine.state.vcpus_run

    def begin(self) -> None:
        """Let the transfer switch when the guest stands."""
        if not self._may or self._machine.status is not MigrationStatus.ACTIVE:
            raise FaultError(Status.ERROR_GEN_FAILURE, "no transfer is under way that may switch to post-copy")
        self._begun = True

    def stand_before(self, peer: FakeMachine, rest: TransferModel) -> None:
        """Wait for the word to switch."""
        self._peer, self._rest = peer, rest
        self._machine.change(MigrationStatus.PRE_SWITCHOVER)

    def enter(self) -> None:
        """Send the devices' state: from here on only the destination can run the guest."""
        if self._machine.status is not MigrationStatus.PRE_SWITCHOVER or self._peer is None:
            raise FaultError(Status.ERROR_GEN_FAILURE, "the transfer does not wait for the word to switch")
        self._machine.hold_memory()
        self._machine.change(MigrationStatus.POSTCOPY)
        self._machine.spawn("transfer", self._serve(self._peer, starts=True))

    async def _serve(self, peer: FakeMachine, *, starts: bool) -> None:
        machine = self._machine
        if starts:
            await asyncio.sleep(_LOAD_SECONDS)
            peer.postcopy._peer = machine
            peer.take_devices(machine.count)
        last = time.monotonic()
        while self._rest is not None and not self._rest.completed:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            if not machine.link_down:
                self._rest = self._rest.advance(now - last)
                machine.show_transfer(self._rest)
            last = now
        peer.postcopy._peer = self._peer = None
        machine.release_memory()
        peer.change(MigrationStatus.COMPLETED)
        machine.change(MigrationStatus.COMPLETED)

    # --- a broken connection ---

    def pause(self) -> None:
        """Give the connection up; the other side notices, unless the link is down."""
        machine, peer = self._machine, self._peer
        if machine.status is MigrationStatus.POSTCOPY_PAUSED:
            return
        if not machine.status.is_postcopy:
            raise FaultError(Status.ERROR_GEN_FAILURE, "the transfer is not a post-copy")
        self._break()
        if peer is not None and not (machine.link_down or peer.link_down):
            peer.postcopy._break()

    def _break(self) -> None:
        if self._machine.status is MigrationStatus.POSTCOPY:
            self._machine.end_task("transfer")
            self._machine.change(MigrationStatus.POSTCOPY_PAUSED)

    def check_paused(self) -> None:
        """Raise FaultError unless the connection is broken."""
        if self._machine.status is not MigrationStatus.POSTCOPY_PAUSED:
            raise FaultError(Status.ERROR_GEN_FAILURE, "the post-copy is not paused")

    def go_on(self, peer: FakeMachine) -> None:
        """Go on where the connection broke."""
        if peer is not self._peer or peer.status is not MigrationStatus.POSTCOPY_PAUSED:
            return
        for machine in (self._machine, peer):
            machine.change(MigrationStatus.POSTCOPY_RECOVER)
            machine.change(MigrationStatus.POSTCOPY)
        self._machine.spawn("transfer", self._serve(peer, starts=False))

    # --- the end ---

    @property
    def holds_up_the_guest(self) -> bool:
        """Answer whether the guest stands over a page that does not come."""
        peer = self._peer
        if not self._machine.status.is_postcopy:
            return False
        return self._machine.status is not MigrationStatus.POSTCOPY or (peer is not None and peer.link_down)

    def check_can_cancel(self) -> None:
        """Raise FaultError when nothing can take the switch back."""
        if self._machine.status.is_postcopy:
            raise FaultError(Status.ERROR_GEN_FAILURE, "post-copy is in progress: it cannot be cancelled")

    def on_end(self) -> None:
        """The machine has ended: the other side keeps what it has."""
        peer, self._peer = self._peer, None
        if peer is not None and self._machine.status.is_postcopy:
            peer.postcopy._break()
