"""The machine behind the fake driver: what in reality is a process of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.status import Status
from quorate.hypervisor.contract import (
    Exited,
    GuestPanicked,
    GuestReset,
    GuestShutdown,
    HypervisorGone,
    Incoming,
    InstanceEvent,
    LaunchRequest,
    MigrationChanged,
    MigrationSample,
    MigrationStatus,
    Mute,
    PassStarted,
    Progress,
    RunState,
    RunStateChanged,
    Speaking,
)
from quorate.hypervisor.definition import BuiltinGuest
from quorate.hypervisor.fake_postcopy import FakePostCopy
from quorate.hypervisor.guest_model import GuestModel, TransferModel
from quorate.hypervisor.subscribers import Subscribers
from quorate.hypervisor.whole_files import made_beside

_TICK = 0.002
_LOAD_SECONDS = 0.005  # from the last page to a loaded destination
_MUTE_AFTER = 2.0
_REPORT_EVERY = 0.5
_FIXED = 8 << 20  # what every guest has besides what it filled


class FakeMachine:
    """One machine with a guest that counts; methods change it at once, as commands that were carried out."""

    def __init__(self, request: LaunchRequest, pid: int, disk_bandwidth: float, beat_hz: int | None = None) -> None:
        self.request = request
        self.vm_id = request.vm_id
        self.image = request.image
        self.pid = pid
        self.started_at = time.time()
        self.state = RunState.INMIGRATE if isinstance(request.launch, Incoming) else RunState.PAUSED
        self.count = 0
        self.is_mute = False
        self.link_down = False  # the transfer stands still, nobody is told
        self._observers = Subscribers()
        self._gone = asyncio.Event()
        self._status = MigrationStatus.NONE
        self._sentence = ""
        self._transfer: TransferModel | None = None
        self._disk_bandwidth = disk_bandwidth
        self._peer: FakeMachine | None = None
        self._source: FakeMachine | None = None
        guest = request.definition.guest
        self._guest = guest if isinstance(guest, BuiltinGuest) else BuiltinGuest()
        self._beat_hz = beat_hz or self._guest.beat_hz
        self._serial = request.paths.serial_log(self.vm_id).open("ab", buffering=0)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.postcopy = FakePostCopy(self)

    # --- life ---

    @property
    def is_gone(self) -> bool:
        """Answer whether it has ended."""
        return self._gone.is_set()

    async def wait_gone(self) -> None:
        """Wait for its end."""
        await self._gone.wait()

    def attach(self, observer: Callable[[InstanceEvent], None]) -> Callable[[], None]:
        """Tell ``observer`` what happens."""
        return self._observers.add(observer)

    def kill(self) -> None:
        """End as by SIGKILL."""
        self._end(-9, "the machine was killed by signal 9")

    def quit(self) -> None:
        """End by command."""
        if not self.is_gone:
            self._observers.publish(GuestShutdown(by_guest=False))
        self._end(0, "the machine ended with code 0")

    def _end(self, code: int, sentence: str) -> None:
        if self.is_gone:
            return
        self._gone.set()
        for task in self._tasks.values():
            if task is not asyncio.current_task():
                task.cancel()
        self._serial.close()
        self.postcopy.on_end()
        if self._peer is not None and not self._status.is_final:
            self._peer.source_lost()
        if self._source is not None:
            self._source.fail_transfer("the destination has ended")
        self._observers.publish(Exited(code, sentence))

    # --- the guest ---

    def cont(self) -> None:
        """Start the vCPUs."""
        if self.state is RunState.INMIGRATE:
            raise RefusalError(Status.ERROR_INVALID_STATE, "the memory image has not been loaded yet")
        if self.state in (RunState.SHUTDOWN, RunState.PANICKED):
            raise FaultError(Status.ERROR_GEN_FAILURE, "resetting the guest is required")
        if self.state is RunState.RUNNING:
            return
        if self.state is RunState.SAVING:
            raise FaultError(Status.ERROR_GEN_FAILURE, "the migration is not finalized yet")
        self._become(RunState.RUNNING)
        if self._transfer is not None:
            self._transfer = self._transfer.start_guest()
        self._spawn("beats", self._beat())

    def stop(self) -> None:
        """Stop the vCPUs."""
        if self.state is RunState.RUNNING:
            self._halt(RunState.PAUSED)

    def power_off(self) -> None:
        """The guest obeys its power button, if it runs."""
        if self.state is RunState.RUNNING:
            self._serial.write(b"OFF\n")
            self._observers.publish(GuestShutdown(by_guest=True))
            self._halt(RunState.SHUTDOWN)

    def panic(self) -> None:
        """The guest crashes."""
        self._observers.publish(GuestPanicked())
        self._halt(RunState.PANICKED)

    def reset(self) -> None:
        """The guest begins anew."""
        self.count = 0
        if self.state in (RunState.SHUTDOWN, RunState.PANICKED):
            self.state = RunState.PAUSED
        self._observers.publish(GuestReset())

    def _halt(self, state: RunState) -> None:
        if beats := self._tasks.pop("beats", None):
            beats.cancel()
        if self._transfer is not None:
            self._transfer = self._transfer.stop_guest()
        self._become(state)

    def _become(self, state: RunState) -> None:
        self.state = state
        self._observers.publish(RunStateChanged(state if state.vcpus_run else RunState.PAUSED))

    async def _beat(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + 1 / self._beat_hz, time.monotonic() - 0.1)
            await asyncio.sleep(due - time.monotonic())
            if self.postcopy.holds_up_the_guest:
                continue
            self.count += 1
            self._serial.write(b"Q %010d\n" % self.count)

    # --- memory images ---

    async def save(self, path: Path, report: Progress | None) -> None:
        """Write the memory to a file; raises OSError."""
        with made_beside(path, ".partial") as partial:
            partial.write_text(json.dumps({"fake": 1, "count": self.count}))
            await self._take_time(report)
        self.state = RunState.POSTMIGRATE

    async def load(self, path: Path, report: Progress | None) -> None:
        """Read the memory from a file; raises OSError or ValueError."""
        count = _saved_count(path)
        await self._take_time(report)
        self.count = count

    async def _take_time(self, report: Progress | None) -> None:
        """Let pass what a disk takes for all that the guest has filled."""
        began, used, done = time.monotonic(), self.used(), 0
        while True:
            if report is not None:
                report(done)
            if done == used:
                return
            await asyncio.sleep(min(_REPORT_EVERY, (used - done) / self._disk_bandwidth))
            if self.is_gone:
                raise HypervisorGone(self.vm_id, f"the machine {self.vm_id} has ended")
            done = min(used, round((time.monotonic() - began) * self._disk_bandwidth))

    def used(self) -> int:
        """Tell how much of its memory is not zero."""
        return min(self.request.pinned.memory_bytes, _FIXED + self._guest.fill_bytes + self._guest.dirty_bytes)

    def model(self) -> GuestModel:
        """Give the guest as a migration sees it."""
        guest, memory = self._guest, self.request.pinned.memory_bytes
        return GuestModel(memory, memory - self.used(), guest.dirty_bytes, guest.dirty_bytes_per_second)

    def listening(self) -> None:
        """Wait for a source."""
        self._set_status(MigrationStatus.SETUP)

    def send_to(self, peer: FakeMachine, bandwidth: float, *, post_copy: bool = False) -> None:
        """Begin to send the memory."""
        if self._status in (MigrationStatus.SETUP, MigrationStatus.ACTIVE):
            raise FaultError(Status.ERROR_GEN_FAILURE, "there is a migration in progress")
        self._transfer = TransferModel.begin(self.model(), bandwidth, running=self.state.vcpus_run)
        self._peer, peer._source = peer, self
        self._sentence = ""
        self.postcopy.prepare(post_copy)
        self._set_status(MigrationStatus.SETUP)
        self._spawn("transfer", self._send(peer))

    async def _send(self, peer: FakeMachine) -> None:
        self._set_status(MigrationStatus.ACTIVE)
        peer._set_status(MigrationStatus.ACTIVE)
        self._observers.publish(PassStarted(1))
        last = time.monotonic()
        while self._transfer is not None and not self._transfer.completed:
            await asyncio.sleep(_TICK)
            if self.postcopy.is_due:
                self.postcopy.stand_before(peer, self._transfer)
                return
            now = time.monotonic()
            if not self.link_down:
                before = self._transfer.passes
                self._transfer = self._transfer.advance(now - last)
                if self._transfer.passes > before:
                    self._observers.publish(PassStarted(self._transfer.passes))
            last = now
        self._set_status(MigrationStatus.DEVICE)
        await asyncio.sleep(_LOAD_SECONDS)
        peer.loaded(self.count)
        self._become(RunState.POSTMIGRATE)
        self._peer = None
        self._set_status(MigrationStatus.COMPLETED)

    def loaded(self, count: int) -> None:
        """The image has come completely; the guest stands."""
        self.count = count
        self.state = RunState.PAUSED
        self._source = None
        self._set_status(MigrationStatus.COMPLETED)

    # --- what post-copy needs of a machine ---

    @property
    def status(self) -> MigrationStatus:
        """Where the transfer stands."""
        return self._status

    def change(self, status: MigrationStatus) -> None:
        """The transfer's status changes."""
        self._set_status(status)

    def hold_memory(self) -> None:
        """The source keeps the memory and can run the guest no more; its pages go to the peer one by one."""
        self.state = RunState.SAVING
        self._peer = None

    def release_memory(self) -> None:
        """All of the memory is across."""
        self._become(RunState.POSTMIGRATE)

    def show_transfer(self, model: TransferModel) -> None:
        """Have this as what a sample tells."""
        self._transfer = model

    def take_devices(self, count: int) -> None:
        """The destination has all that it needs to run, but for pages."""
        self.count = count
        self.state = RunState.PAUSED
        self._source = None
        self._set_status(MigrationStatus.POSTCOPY)

    def spawn(self, name: str, coroutine: Coroutine[object, object, None]) -> None:
        """Do something beside."""
        self._spawn(name, coroutine)

    def end_task(self, name: str) -> None:
        """Do it no more."""
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    # --- the end of a transfer ---

    def cancel(self) -> None:
        """Give the transfer up, if one is going on."""
        self.postcopy.check_can_cancel()
        if self._status in (MigrationStatus.SETUP, MigrationStatus.ACTIVE, MigrationStatus.PRE_SWITCHOVER):
            self._set_status(MigrationStatus.CANCELLING)
            self._abandon(MigrationStatus.CANCELLED)

    def throttle(self, percent: int) -> None:
        """Hold the guest back from one of the next looks on, for as long as the transfer lasts."""
        if self._transfer is not None:
            self._transfer = self._transfer.hold_back(percent)

    def fail_transfer(self, sentence: str = "the connection broke") -> None:
        """The transfer breaks: the source goes on, or stays stopped if it was; the destination is lost."""
        if self._peer is not None and not self._status.is_final:
            self._sentence = sentence
            self._abandon(MigrationStatus.FAILED)

    def source_lost(self) -> None:
        """The source is gone before all has come: as QEMU does, say so and end."""
        self._source = None
        if not self.is_gone:
            self._set_status(MigrationStatus.FAILED)
            self._end(1, "the machine ended with code 1: the source is gone")

    def _abandon(self, status: MigrationStatus) -> None:
        if transfer := self._tasks.pop("transfer", None):
            transfer.cancel()
        peer, self._peer = self._peer, None
        self._transfer = None
        if self.state is RunState.SAVING:
            self.state = RunState.PAUSED
        self._set_status(status)
        if peer is not None and not peer.is_gone:
            peer.source_lost()

    def sample(self) -> MigrationSample:
        """Look at the transfer."""
        model = self._transfer
        if model is None:
            return MigrationSample(self._status, sentence=self._sentence)
        dirty = model.guest.dirty_bytes_per_second * (100 - model.throttle) / 100 if model.passes > 1 else 0.0
        return MigrationSample(
            status=self._status,
            total=model.guest.memory,
            transferred=model.transferred,
            remaining=model.remaining,
            dirty_bytes_per_second=dirty,
            bytes_per_second=model.bandwidth,
            passes=model.passes,
            pass_seconds=model.running_in_pass,
            throttle=model.throttle,
        )

    def _set_status(self, status: MigrationStatus) -> None:
        self._status = status
        sentence = self._sentence if status is MigrationStatus.FAILED else ""
        self._observers.publish(MigrationChanged(status, sentence))

    # --- the control connection ---

    def set_mute(self, mute: bool) -> None:
        """Let it answer no command, or answer again; the guest goes on."""
        was, self.is_mute = self.is_mute, mute
        if mute and not was:
            self._spawn("mute", self._tell_mute(time.monotonic()))
        elif was and not mute:
            if self._tasks["mute"].done():
                self._observers.publish(Speaking())
            self._tasks.pop("mute").cancel()

    async def _tell_mute(self, since: float) -> None:
        await asyncio.sleep(_MUTE_AFTER)
        self._observers.publish(Mute(since))

    def _spawn(self, name: str, coroutine: object) -> None:
        assert asyncio.iscoroutine(coroutine)
        self._tasks[name] = asyncio.create_task(coroutine, name=f"fake-{name}-{self.vm_id}")


def _saved_count(path: Path) -> int:
    content = json.loads(path.read_text())
    if not isinstance(content, dict) or not isinstance(content.get("count"), int):
        raise ValueError("it is no image of a fake machine")
    return int(content["count"])
