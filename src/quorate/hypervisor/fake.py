"""A driver without a hypervisor: machines in this process that obey the same contract.

A :class:`FakeWorld` is the hardware: its machines live until killed, whatever becomes of the drivers, so that adoption
and migration between two :class:`FakeHypervisor` objects work as they do with real processes. A machine's memory is one
number, the built-in guest's count, which it prints into its serial log; how long copying takes follows
:mod:`quorate.hypervisor.guest_model`. Faults are injected on the machine: :meth:`FakeMachine.kill`,
:meth:`FakeMachine.set_mute`, :meth:`FakeMachine.fail_transfer`, :meth:`FakeMachine.panic`, ``link_down``, and
``FakeWorld.launch_error``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from quorate.clusapi.errors import ClusterError, FaultError, RefusalError
from quorate.clusapi.host_sight import GuestSight, HostSight
from quorate.clusapi.identity import ImageId, VmId
from quorate.clusapi.status import Status
from quorate.hypervisor.contract import (
    HostFacts,
    HypervisorGone,
    Incoming,
    Instance,
    InstanceEvent,
    LaunchRequest,
    MemorySight,
    MigrationParameters,
    MigrationSample,
    ProcessSight,
    Progress,
    Restore,
    RunState,
    VmPaths,
)
from quorate.hypervisor.definition import VmDefinition
from quorate.hypervisor.fake_machine import FakeMachine
from quorate.hypervisor.pinned import Accelerator, Pinned
from quorate.hypervisor.subscribers import Subscribers
from quorate.hypervisor.whole_files import file_faults

__all__ = ["FakeHypervisor", "FakeInstance", "FakeMachine", "FakeWorld"]

_DEADLINE = 5.0
_MOMENT = 0.01
_FEATURES = frozenset({"fake"})


class FakeWorld:
    """The machines of all fake hosts, and the wires between them."""

    def __init__(self, bandwidth: float = 4e9, beat_hz: int | None = None) -> None:
        self.bandwidth = bandwidth
        self.beat_hz = beat_hz  # of every guest, whatever its definition says: hundreds of them in one process
        self.disk_bandwidth = bandwidth  # of saved images
        self.launch_error: ClusterError | None = None  # the next launches fail with it
        self._machines: dict[Path, FakeMachine] = {}  # by lock file: one per VM and host
        self._listening: dict[str, FakeMachine] = {}
        self._next_pid = -1

    def machine(self, paths: VmPaths, vm_id: VmId) -> FakeMachine | None:
        """Find the living machine of a VM on a host."""
        machine = self._machines.get(paths.lock(vm_id))
        return None if machine is None or machine.is_gone else machine

    def start(self, request: LaunchRequest) -> FakeMachine:
        """Make a machine."""
        machine = FakeMachine(request, self._next_pid, self.disk_bandwidth, self.beat_hz)
        self._next_pid -= 1
        self._machines[request.paths.lock(request.vm_id)] = machine
        return machine

    def listen(self, uri: str, machine: FakeMachine) -> None:
        """Let sources find an incoming machine."""
        self._listening[uri] = machine

    def connect(self, uri: str) -> FakeMachine:
        """Find the incoming machine; raises FaultError if nobody listens."""
        machine = self._listening.get(uri)
        if machine is None or machine.is_gone:
            raise FaultError(Status.ERROR_GEN_FAILURE, f"nobody listens at {uri}")
        return machine


class FakeHypervisor:
    """Implements :class:`quorate.hypervisor.contract.Hypervisor` on a :class:`FakeWorld`."""

    def __init__(
        self, world: FakeWorld, memory_total: int = 64 << 30, version: tuple[int, int, int] = (1, 0, 0)
    ) -> None:
        self._world = world
        self._version = version
        self.memory_total = memory_total
        self.memory_free = memory_total

    async def host_facts(self) -> HostFacts:
        """Tell what this host can run."""
        machine_type = f"fake-{self._version[0]}"
        return HostFacts(
            "fake", self._version, Accelerator.TCG, machine_type, "fake", self.memory_total, self.memory_free
        )

    async def pin(self, definition: VmDefinition) -> Pinned:
        """Decide what the guest will see."""
        return Pinned(f"fake-{self._version[0]}", Accelerator.TCG, "fake", definition.memory_bytes)

    async def learn(self) -> None:
        """Know everything already."""

    @property
    def compression(self) -> float | None:
        """Never compress."""
        return None

    async def measure(self, definition: VmDefinition, pinned: Pinned) -> HostSight:
        """Look what this host has: the machine types of its version and of all before, memory, and every file."""
        return HostSight(
            kind="fake",
            version=self._version,
            accelerator=Accelerator.TCG.value,
            machine_types=frozenset(f"fake-{number}" for number in range(self._version[0] + 1)),
            memory_free=self.memory_free,
            cpu_features=_FEATURES,
        )

    async def look_at(self, instance: Instance | None, definition: VmDefinition, pinned: Pinned) -> GuestSight:
        """Look what a machine was given: nothing but its memory."""
        if instance is None:
            return GuestSight()
        return GuestSight(version=(await instance.sight()).version, cpu_features=_FEATURES)

    async def launch(self, request: LaunchRequest, report: Progress | None = None) -> Instance:
        """Make a machine with its vCPUs stopped."""
        if self._world.machine(request.paths, request.vm_id) is not None:
            raise RefusalError(
                Status.ERROR_INVALID_STATE, f"the virtual machine {request.vm_id} already runs on this node"
            )
        if self._world.launch_error is not None:
            raise self._world.launch_error
        with file_faults(f"{request.name} could not be started", Status.ERROR_RESOURCE_FAILED):
            machine = self._world.start(request)
        try:
            if isinstance(request.launch, Restore):
                await machine.load(request.launch.path, report)
        except (OSError, ValueError) as error:
            machine.kill()
            sentence = f"{request.name} could not be started: the saved image is unreadable: {error}"
            raise FaultError(Status.ERROR_RESOURCE_FAILED, sentence) from error
        except BaseException:
            machine.kill()
            raise
        return FakeInstance(self._world, machine)

    async def adopt(self, vm_id: VmId, paths: VmPaths) -> Instance | None:
        """Take over a machine that lives."""
        machine = self._world.machine(paths, vm_id)
        return None if machine is None else FakeInstance(self._world, machine)


class FakeInstance:
    """Implements :class:`quorate.hypervisor.contract.Instance`."""

    def __init__(self, world: FakeWorld, machine: FakeMachine) -> None:
        self._world = world
        self.machine = machine
        self._subscribers = Subscribers()
        self._released = False
        self._detach = machine.attach(self._subscribers.publish)

    @property
    def vm_id(self) -> VmId:
        """The VM's id."""
        return self.machine.vm_id

    @property
    def image(self) -> ImageId:
        """The id of the memory image it holds."""
        return self.machine.image

    @property
    def pid(self) -> int:
        """A number below zero."""
        return self.machine.pid

    @property
    def started_at(self) -> float:
        """Seconds since the epoch at which it was made."""
        return self.machine.started_at

    @property
    def is_gone(self) -> bool:
        """Tell whether it has ended."""
        return self.machine.is_gone

    async def _spoken(self) -> FakeMachine:
        """Wait while it is mute, as long as a command may take."""
        machine = self.machine
        if self._released:
            raise FaultError(Status.ERROR_GEN_FAILURE, f"the machine {self.vm_id} was let go")
        deadline = time.monotonic() + _DEADLINE
        await asyncio.sleep(0)
        while machine.is_mute and not machine.is_gone:
            if time.monotonic() > deadline:
                raise FaultError(Status.ERROR_TIMEOUT, f"the machine {self.vm_id} gave no answer for {_DEADLINE:g} s")
            await asyncio.sleep(0.01)
        if machine.is_gone:
            raise HypervisorGone(self.vm_id, f"the machine {self.vm_id} has ended")
        return machine

    async def run_state(self) -> RunState:
        """Ask whether the vCPUs run."""
        return (await self._spoken()).state

    async def cont(self) -> None:
        """Start the vCPUs."""
        (await self._spoken()).cont()

    async def sight(self) -> ProcessSight:
        """Tell the version that made it; nothing stands against a migration."""
        return ProcessSight(version=_version_of((await self._spoken()).request.pinned.machine_type))

    async def stop(self) -> None:
        """Stop the vCPUs."""
        (await self._spoken()).stop()

    async def shutdown_guest(self) -> None:
        """Press the power button; the guest obeys."""
        (await self._spoken()).power_off()

    async def reset(self) -> None:
        """Reset the guest: its count begins again."""
        (await self._spoken()).reset()

    async def quit(self, timeout: float) -> None:
        """End the machine, after ``timeout`` by force."""
        if not self.machine.is_mute:
            self.machine.quit()
            return
        await asyncio.sleep(timeout)
        self.kill()

    def kill(self) -> None:
        """End the machine at once."""
        if not self._released:
            self.machine.kill()

    async def wait_gone(self) -> None:
        """Wait until the machine is gone."""
        if not self._released:
            await self.machine.wait_gone()

    async def save(self, path: Path, report: Progress | None = None) -> None:
        """Write the image, which takes as long as the disk's bandwidth says."""
        machine = await self._spoken()
        if machine.state not in (RunState.PAUSED, RunState.POSTMIGRATE):
            raise RefusalError(Status.ERROR_INVALID_STATE, f"only a stopped guest can be saved; it is {machine.state}")
        with file_faults(f"the memory image {path} could not be written"):
            await machine.save(path, report)

    async def listen(self, parameters: MigrationParameters) -> str:
        """Begin to wait for the source."""
        machine = await self._spoken()
        if not isinstance(machine.request.launch, Incoming):
            raise FaultError(Status.ERROR_GEN_FAILURE, "it was not started to receive")
        uri = f"unix:{parameters.unix_socket or machine.request.paths.migration_socket(self.vm_id)}"
        self._world.listen(uri, machine)
        machine.listening()
        return uri

    async def migrate(self, uri: str, parameters: MigrationParameters) -> None:
        """Begin to send the image."""
        machine = await self._spoken()
        bandwidth = parameters.max_bandwidth or self._world.bandwidth
        machine.send_to(self._world.connect(uri), bandwidth, post_copy=parameters.post_copy)

    async def begin_postcopy(self) -> None:
        """Let the transfer switch when the guest stands."""
        (await self._spoken()).postcopy.begin()

    async def enter_postcopy(self) -> None:
        """Send the devices' state."""
        (await self._spoken()).postcopy.enter()

    async def pause_postcopy(self) -> None:
        """Give the connection up."""
        (await self._spoken()).postcopy.pause()

    async def listen_again(self, parameters: MigrationParameters) -> str:
        """Wait for the source of a paused post-copy."""
        machine = await self._spoken()
        machine.postcopy.check_paused()
        uri = f"unix:{parameters.unix_socket or machine.request.paths.migration_socket(self.vm_id)}"
        self._world.listen(uri, machine)
        return uri

    async def migrate_again(self, uri: str) -> None:
        """Go on over a new connection."""
        machine = await self._spoken()
        machine.postcopy.check_paused()
        try:
            peer = self._world.connect(uri)
        except FaultError:
            return  # it stays paused, as QEMU does
        machine.postcopy.go_on(peer)

    async def migrate_cancel(self) -> None:
        """Give the transfer up."""
        (await self._spoken()).cancel()

    async def throttle(self, percent: int) -> None:
        """Hold the guest back."""
        (await self._spoken()).throttle(percent)

    async def migration(self) -> MigrationSample:
        """Look at the transfer."""
        return (await self._spoken()).sample()

    async def memory_in_use(self) -> MemorySight:
        """Tell what the guest has filled."""
        return MemorySight(in_use=(await self._spoken()).used())

    async def memory_written(self, seconds: float) -> MemorySight:
        """Tell what the guest would write, if it runs; no time passes but a moment."""
        machine = await self._spoken()
        await asyncio.sleep(min(seconds, _MOMENT))
        return MemorySight(seconds=seconds, written=machine.model().dirtied(seconds) if machine.state.vcpus_run else 0)

    async def vcpu_seconds(self) -> float:
        """Count beats as seconds: they come as long as the guest lives."""
        return float((await self._spoken()).count)

    async def announce(self) -> None:
        """There is no network to tell."""
        await self._spoken()

    async def heard(self, addresses: frozenset[str], seconds: float) -> frozenset[str] | None:
        """There is no network to listen to."""
        await self._spoken()
        return None

    async def release(self) -> None:
        """Let go of the machine; it goes on."""
        self._released = True
        self._detach()
        self._subscribers.clear()

    def subscribe(self, callback: Callable[[InstanceEvent], None]) -> Callable[[], None]:
        """Have ``callback`` called with each event from now on."""
        return self._subscribers.add(callback)


def _version_of(machine_type: str) -> tuple[int, int, int]:
    number = machine_type.rpartition("-")[2]
    return (int(number) if number.isdigit() else 0, 0, 0)
