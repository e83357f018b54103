"""A daemon's grip on one QEMU, as the driver gives it in production: commands that take their time, and may be mute."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import ImageId
from quorate.clusapi.status import Status
from quorate.hypervisor.contract import Exited, InstanceEvent, MigrationSample, RunState
from quorate.simulator.brains import Hand
from quorate.simulator.kernel import Act, Future
from quorate.simulator.qemu import LATENCY, Listener, Qemu

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon

T = TypeVar("T")

DEADLINE: Final = 5.0
"""Seconds after which a command counts as unanswered."""
GUARD_PATIENCE: Final = 2.0
"""Seconds that a start of virtual CPUs waits for a guard that is being started."""
_GUARD_LOOK: Final = 0.1


class Gone(FaultError):
    """The process behind an instance has ended."""

    def __init__(self, sentence: str) -> None:
        """Say what is known of it."""
        super().__init__(Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED, sentence)


class Instance:
    """One QEMU as one daemon has it."""

    def __init__(self, daemon: "Daemon", qemu: Qemu) -> None:
        """Take hold of a process; an earlier daemon has lost it."""
        self._daemon = daemon
        self.qemu = qemu
        self._open: dict[Future[tuple[object]], None] = {}
        qemu.attach(daemon.life)
        qemu.listen(self._on_event)

    @property
    def image(self) -> ImageId:
        """The memory image that it holds."""
        return self.qemu.image

    @property
    def is_gone(self) -> bool:
        """Tell whether the process has ended."""
        return self.qemu.is_gone

    def subscribe(self, listener: Listener) -> Act:
        """Hear what happens; returns how to end that."""
        return self.qemu.listen(listener)

    def _on_event(self, event: InstanceEvent) -> None:
        if isinstance(event, Exited):
            for waited in tuple(self._open):
                waited.fail(Gone(event.sentence))

    async def run_state(self) -> RunState:
        """Ask whether the vCPUs run. Raises FaultError."""
        return await self._do(lambda: self.qemu.run_state)

    async def cont(self) -> None:
        """Start the vCPUs. Raises FaultError."""
        if not await self._do(self.qemu.cont):
            raise FaultError(Status.ERROR_GEN_FAILURE, f"it cannot run: it is {self.qemu.run.value}")

    async def stop(self) -> None:
        """Stop the vCPUs. Raises FaultError."""
        is_hasty = Hand.STOPPED_FOR_GOOD in self._daemon.world.brains.weaknesses
        while not await self._do(self.qemu.stop) and not is_hasty:
            await self._daemon.life.sleep(LATENCY)

    async def migrate(self, destination: Qemu | None, *, post_copy: bool = False) -> None:
        """Begin to send. Raises FaultError."""
        sentence = await self._do(lambda: self.qemu.send_to(destination, post_copy=post_copy))
        if sentence:
            raise FaultError(Status.ERROR_GEN_FAILURE, sentence)

    async def migrate_cancel(self) -> None:
        """Give the transfer up. Raises FaultError."""
        await self._do(self.qemu.cancel)

    async def throttle(self, percent: int) -> None:
        """Hold the guest back. Raises FaultError."""
        await self._do(lambda: self.qemu.throttle(percent))

    async def begin_postcopy(self) -> None:
        """Switch to post-copy when the guest stands. Raises FaultError."""
        await self._must(self.qemu.begin_postcopy)

    async def enter_postcopy(self) -> None:
        """Switch. Raises FaultError."""
        await self._must(self.qemu.enter_postcopy)

    async def pause_postcopy(self) -> None:
        """Give the connection of pages up. Raises FaultError."""
        await self._must(self.qemu.pause_pages)

    async def migrate_again(self, destination: Qemu | None) -> None:
        """Go on with pages over a new connection. Raises FaultError."""
        await self._must(lambda: self.qemu.resume_pages(destination))

    async def _must(self, act: Callable[[], bool]) -> None:
        if not await self._do(act):
            raise FaultError(Status.ERROR_GEN_FAILURE, f"its transfer is {self.qemu.status.value}")

    async def migration(self) -> MigrationSample:
        """Look at the transfer. Raises FaultError."""
        return await self._do(self.qemu.sample)

    async def shut_down_guest(self) -> None:
        """Press the power button. Raises FaultError."""
        await self._do(self.qemu.shut_down_guest)

    async def save(self) -> None:
        """Write the memory of the stopped guest to a file. Raises FaultError."""
        if self._daemon.machine.is_disk_full:
            raise FaultError(Status.ERROR_IO_DEVICE, "the disk is full")
        await self._daemon.life.sleep(self._daemon.world.disk_seconds(self.qemu.guest))
        image = await self._do(lambda: self.image)
        self._daemon.world.laws.on_saved(self.qemu.group, image)

    def kill(self) -> None:
        """End the process at once."""
        self._daemon.world.laws.on_ended_by_hand(self.qemu)
        self.qemu.kill("the machine was killed by signal 9")

    async def wait_gone(self) -> None:
        """Wait until the process is gone."""
        await self._daemon.life.sleep(LATENCY)

    async def _do(self, act: Callable[[], T]) -> T:
        """Have a command carried out and answered."""
        if self.qemu.is_gone:
            raise Gone("its QEMU is gone")
        life, kernel = self._daemon.life, self._daemon.life.kernel
        answer: Future[tuple[T]] = Future(kernel)

        def carry_out() -> None:
            result = act()
            kernel.at(kernel.now + LATENCY, lambda: answer.set((result,)), life)

        kernel.at(kernel.now + LATENCY, lambda: self.qemu.command(carry_out))
        waited: Future[tuple[object]] = answer  # type: ignore[assignment]
        self._open[waited] = None
        found = await life.within(DEADLINE, answer)
        self._open.pop(waited, None)
        if found is None:
            raise FaultError(Status.ERROR_TIMEOUT, "QEMU did not answer in time")
        return found[0]


async def let_run(
    daemon: "Daemon", instance: Instance, incarnation: str, *, new: bool = False, patience: float = GUARD_PATIENCE
) -> None:
    """Start the virtual CPUs of a guest, as `engine/vcpus.py` does. Raises FaultError: the guest stands."""
    await wait_for_guard(daemon, patience)
    weaknesses = daemon.world.brains.weaknesses
    if Hand.LEASE_BEFORE_START not in weaknesses:
        keeper = daemon.keeper
        may_run = keeper.is_held if new else keeper.may_run
        if not may_run or keeper.incarnation != incarnation:
            raise FaultError(Status.ERROR_CLUSTER_NODE_NOT_MEMBER, "the lease ran out: it was not run")
    await instance.cont()


async def wait_for_guard(daemon: "Daemon", patience: float = GUARD_PATIENCE) -> None:
    """Wait for a guard that is being started. Raises FaultError: there is still none."""
    if Hand.GUARD_BEFORE_START in daemon.world.brains.weaknesses:
        return
    guard, left = daemon.machine.guard, patience
    while not guard.is_alive and left > 0:
        await daemon.life.sleep(_GUARD_LOOK)
        left -= _GUARD_LOOK
    if not guard.is_alive:
        raise FaultError(Status.ERROR_SERVICE_NOT_ACTIVE, "the node's guard is not there")
