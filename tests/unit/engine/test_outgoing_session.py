"""The hands of a migration's source where QEMU does not do what it should; all else is tried on real processes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import ImageId, NodeId, SessionId
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState
from quorate.clusapi.status import Status
from quorate.engine.hosted import HostedVm
from quorate.engine.outgoing_session import CANCEL_PATIENCE, OutgoingSession
from quorate.hypervisor import contract as hv
from quorate.migration import outgoing_events as e
from quorate.migration.outgoing import Outcome, Outgoing, Phase
from quorate.migration.ownership import OwnershipRecord
from quorate.migration.transport import Transport

ONE, TWO = NodeId("1"), NodeId("2")
IMAGE = ImageId("here")


@dataclass
class Qemu:
    """Says of its transfer what it is told to."""

    status: hv.MigrationStatus
    asked: int = 0
    looks: int = 0
    tell: Callable[[hv.InstanceEvent], None] = lambda event: None

    async def migrate_cancel(self) -> None:
        self.asked += 1

    async def migration(self) -> hv.MigrationSample:
        self.looks += 1
        return hv.MigrationSample(self.status)

    def subscribe(self, callback: Callable[[hv.InstanceEvent], None]) -> object:
        self.tell = callback
        return lambda: None


@dataclass
class Lease:
    incarnation: str = "1"


class Peers:
    async def call(self, *message: object, timeout: float) -> object:
        raise RefusalError(Status.ERROR_NOT_FOUND, "there is no such session")


@dataclass
class Context:
    """A clock that the test sets, and a destination that has dropped its image."""

    clock: float = 0.0
    node_name: str = "node1"
    lease: Lease = field(default_factory=Lease)
    peers: Peers = field(default_factory=Peers)

    def now(self) -> float:
        return self.clock

    def name_of(self, node: NodeId) -> str:
        return f"node{node}"


@dataclass
class Vm:
    context: Context
    instance: Qemu
    name: str = "web1"
    progress: MigrationProgress = field(default_factory=lambda: MigrationProgress(state=MigrationState.DATA_TRANSFER))

    def show(self, progress: MigrationProgress) -> None:
        self.progress = progress


class Rig:
    """A session that is cancelling since the moment 0, or in another phase."""

    def __init__(self, status: hv.MigrationStatus, phase: Phase = Phase.CANCELLING) -> None:
        self.context = Context()
        self.qemu = Qemu(status)
        brain = Outgoing(
            session=SessionId("s"),
            me=ONE,
            destination=TWO,
            image=IMAGE,
            destination_image=ImageId("there"),
            record=OwnershipRecord(ONE, 1, IMAGE, None, None, 1),
            phase=phase,
            outcome=Outcome.FAILED if phase is Phase.CANCELLING else None,
            reason="no byte reached the destination" if phase is Phase.CANCELLING else "",
        )
        vm = cast("HostedVm", Vm(self.context, self.qemu))
        self.session = OutgoingSession(vm, brain, None, hv.MigrationParameters(), self._on_ended)

    async def _on_ended(self, session: OutgoingSession) -> None:
        await asyncio.Event().wait()  # there is no journal to forget

    async def cancel(self, at: float) -> Phase:
        """Have it cancel once more at this moment."""
        self.context.clock, asked = at, self.qemu.asked
        self.session.carry_on((e.CancelTransfer(),))
        for _ in range(20):
            await asyncio.sleep(0)
        assert self.qemu.asked == asked + 1
        return self.session.brain.phase


def test_a_qemu_that_never_comes_to_an_end_with_cancelling_is_not_waited_for_forever() -> None:
    async def run() -> None:
        rig = Rig(hv.MigrationStatus.CANCELLING)
        assert await rig.cancel(0.1) is Phase.CANCELLING
        assert await rig.cancel(CANCEL_PATIENCE - 0.1) is Phase.CANCELLING
        assert await rig.cancel(CANCEL_PATIENCE) is Phase.ENDED
        assert rig.session.brain.outcome is Outcome.FAILED
        assert rig.session.brain.reason == "no byte reached the destination"

    asyncio.run(run())


@pytest.mark.parametrize("status", [hv.MigrationStatus.ACTIVE, hv.MigrationStatus.DEVICE, hv.MigrationStatus.SETUP])
def test_one_that_may_yet_complete_is_waited_for(status: hv.MigrationStatus) -> None:
    """It would stand still in the end, and somebody has to be there."""

    async def run() -> None:
        rig = Rig(status)
        assert await rig.cancel(CANCEL_PATIENCE * 10) is Phase.CANCELLING

    asyncio.run(run())


def test_the_transfer_is_looked_at_as_soon_as_a_pass_begins() -> None:
    async def run() -> None:
        rig = Rig(hv.MigrationStatus.ACTIVE, Phase.TRANSFER)

        async def looks() -> int:
            for _ in range(20):
                await asyncio.sleep(0)
            return rig.qemu.looks

        rig.session.carry_on((e.SampleAfter(3600.0),))
        rig.qemu.tell(hv.PassStarted(1))  # there is nothing to be seen yet
        assert await looks() == 0
        rig.qemu.tell(hv.PassStarted(2))
        assert await looks() == 1
        assert rig.session.brain.phase is Phase.TRANSFER
        assert await looks() == 1, "the next one in its time"

    asyncio.run(run())


def test_the_mode_of_a_move_by_post_copy_tells_how_memory_was_sent_as_well() -> None:
    async def run() -> None:
        session = Rig(hv.MigrationStatus.ACTIVE, Phase.TRANSFER).session
        assert session.mode == "pre-copy", "an earlier daemon chose how"
        session.transport = Transport(encrypted=True, network="fast")
        assert session.mode == "pre-copy, 1 stream, TLS, by fast"
        session.brain = replace(session.brain, post_copy=True)
        assert session.mode == "pre-copy, 1 stream, TLS, by fast, then post-copy"

    asyncio.run(run())
