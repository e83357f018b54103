"""One contract, two drivers: everything here runs on the fake driver and on real QEMU."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.waiting import PATIENCE, slowness

from quorate.clusapi.errors import CallerError, FaultError, RefusalError
from quorate.clusapi.identity import ImageId, VmId
from quorate.engine.host_check import check_can_run
from quorate.hypervisor.contract import (
    Exited,
    Fresh,
    GuestReset,
    GuestShutdown,
    Hypervisor,
    HypervisorGone,
    Incoming,
    Instance,
    InstanceEvent,
    Launch,
    LaunchRequest,
    MigrationChanged,
    MigrationParameters,
    MigrationSample,
    MigrationStatus,
    Mute,
    PassStarted,
    Restore,
    RunState,
    RunStateChanged,
    Speaking,
    VmPaths,
)
from quorate.hypervisor.definition import (
    BuiltinGuest,
    Disk,
    DiskFormat,
    Nic,
    NicKind,
    VmDefinition,
    complete_definition,
)
from quorate.hypervisor.fake import FakeHypervisor, FakeInstance, FakeWorld
from quorate.hypervisor.qemu import migration
from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings
from quorate.hypervisor.qemu.process import RunFile
from quorate.hypervisor.serial_watch import SerialReport, SerialWatch

IDLE = BuiltinGuest(beat_hz=200)
BUSY = BuiltinGuest(beat_hz=200, dirty_bytes=16 << 20, dirty_bytes_per_second=64 << 20, fill_bytes=32 << 20)
NOW = MigrationParameters()
SLOW = MigrationParameters(max_bandwidth=8 << 20)


@dataclass
class Bench:
    """Two nodes with one VM; remembers every instance, so that none outlives the test."""

    root: Path
    make: Callable[[str], Hypervisor]
    world: FakeWorld  # of the fake driver
    vm_id: VmId = field(default_factory=lambda: VmId(str(uuid.uuid4())))
    definition: VmDefinition | None = None  # instead of the usual one
    instances: list[Instance] = field(default_factory=list)
    events: dict[str, list[InstanceEvent]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hypervisors = {name: self.make(name) for name in ("a", "b")}
        self.paths: dict[str, VmPaths] = {}
        for name in ("a", "b"):
            runtime = self.root / name / "run"
            runtime.mkdir(parents=True)
            self.paths[name] = VmPaths(self.root / name, runtime)

    def log(self, node: str) -> Path:
        return self.paths[node].serial_log(self.vm_id)

    async def request(self, node: str, launch: Launch, guest: BuiltinGuest = IDLE) -> LaunchRequest:
        definition = complete_definition(self.definition or VmDefinition("web, 1", 64 << 20, guest=guest), self.vm_id)
        pinned = await self.hypervisors["a"].pin(definition)
        image = ImageId(f"image-{len(self.instances)}")
        return LaunchRequest(self.vm_id, definition.name, image, definition, pinned, self.paths[node], launch)

    async def launch(self, node: str, launch: Launch | None = None, guest: BuiltinGuest = IDLE) -> Instance:
        request = await self.request(node, launch or Fresh(), guest)
        return self.keep(node, await self.hypervisors[node].launch(request))

    def keep(self, node: str, instance: Instance) -> Instance:
        self.instances.append(instance)
        self.events[node] = []
        instance.subscribe(self.events[node].append)
        return instance

    async def pair(self, guest: BuiltinGuest, parameters: MigrationParameters) -> tuple[Instance, Instance, str]:
        """A running source and a destination that waits."""
        source = await self.launch("a", guest=guest)
        await source.cont()
        destination = await self.launch("b", Incoming(prefault=True), guest)
        return source, destination, await destination.listen(parameters)


DRIVERS = [
    "fake",
    pytest.param("qemu", marks=pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU")),
]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root() -> Iterator[Path]:
    """Short, since sockets lie below."""
    directory = Path(tempfile.mkdtemp(prefix="qh"))
    yield directory
    shutil.rmtree(directory)


Scenario = Callable[[Callable[[Bench], Awaitable[None]]], None]


@pytest.fixture
def run(driver: str, root: Path) -> Scenario:
    @asynccontextmanager
    async def bench() -> AsyncIterator[Bench]:
        world = FakeWorld()
        settings = QemuSettings(cache=root / "kvm", environment={"QUORATE_ACCELERATOR": "tcg"})
        make: Callable[[str], Hypervisor] = lambda _name: (  # noqa: E731
            FakeHypervisor(world) if driver == "fake" else QemuHypervisor(settings)
        )
        bench = Bench(root, make, world)
        try:
            yield bench
        finally:
            for instance in bench.instances:
                instance.kill()
            async with asyncio.timeout(PATIENCE):
                for instance in bench.instances:
                    await instance.wait_gone()
                for name, hypervisor in bench.hypervisors.items():
                    if left := await hypervisor.adopt(bench.vm_id, bench.paths[name]):  # let go and not adopted again
                        left.kill()
                        await left.wait_gone()

    async def main(body: Callable[[Bench], Awaitable[None]]) -> None:
        async with asyncio.timeout(PATIENCE), bench() as it:
            await body(it)

    return lambda body: asyncio.run(main(body))


async def wait_for(condition: Callable[[], bool], timeout: float = PATIENCE / 2) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.002)


def beats(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


async def wait_beats(path: Path, more: int = 5) -> None:
    wanted = beats(path) + more
    await wait_for(lambda: beats(path) >= wanted)


async def wait_status(instance: Instance, *wanted: MigrationStatus) -> MigrationSample:
    deadline = time.monotonic() + PATIENCE / 2
    while (sample := await instance.migration()).status not in wanted:
        assert time.monotonic() < deadline, sample
        await asyncio.sleep(0.002)
    return sample


async def converge(source: Instance) -> MigrationSample:
    """Wait until stopping the guest is worth it, as the engine does."""
    while True:
        sample = await source.migration()
        assert not sample.status.is_final, sample
        if sample.passes and sample.remaining <= sample.bytes_per_second * (0.03 if sample.passes > 1 else 0.0):
            return sample
        await asyncio.sleep(0.002)


async def hand_over(source: Instance, destination: Instance, uri: str, parameters: MigrationParameters = NOW) -> None:
    await source.migrate(uri, parameters)
    await converge(source)
    await source.stop()
    await wait_status(source, MigrationStatus.COMPLETED)
    await wait_status(destination, MigrationStatus.COMPLETED)


def seen(bench: Bench, *nodes: str) -> SerialReport:
    with SerialWatch(*(bench.log(node) for node in nodes)) as watch:
        pass
    return watch.report()


# --- starting and stopping -----------------------------------------------------------------------------------------


def test_launch_leaves_the_vcpus_stopped_and_cont_starts_them(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        assert await instance.run_state() is RunState.PAUSED
        await asyncio.sleep(0.05)
        assert beats(bench.log("a")) == 0
        await instance.cont()
        await wait_beats(bench.log("a"))
        assert await instance.run_state() is RunState.RUNNING
        assert bench.events["a"] == [RunStateChanged(RunState.RUNNING)]
        assert seen(bench, "a").first == 1

    run(body)


def test_stop_stops_and_is_idempotent(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        await instance.cont()
        await wait_beats(bench.log("a"))
        await instance.stop()
        count = beats(bench.log("a"))
        await instance.stop()
        await asyncio.sleep(0.05)
        assert beats(bench.log("a")) == count
        assert await instance.run_state() is RunState.PAUSED
        await instance.cont()
        await wait_beats(bench.log("a"))
        assert seen(bench, "a").continuous

    run(body)


def test_what_a_guest_does_with_its_memory_is_seen_from_outside(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a", guest=BUSY)
        before = await instance.vcpu_seconds()
        assert (await instance.memory_written(0.05)).written == 0, "nothing runs yet"
        await instance.cont()
        deadline = time.monotonic() + 10 * PATIENCE
        used = 48 << 20  # filled and written to
        while (seen := await instance.memory_in_use()).in_use < used - (2 << 20):
            assert not seen.trouble
            assert time.monotonic() < deadline
        assert seen.in_use < used + (9 << 20)
        watched = await instance.memory_written(0.2)
        while not watched.written and time.monotonic() < deadline:  # a busy machine hardly lets it run
            watched = await instance.memory_written(0.2)
        assert not watched.trouble
        assert watched.seconds >= 0.2
        assert 0 < watched.written <= (17 << 20), "no more than its working set"
        assert await instance.vcpu_seconds() > before, "it gets on"

    run(body)


def test_quit_ends_it_and_leaves_only_the_serial_log(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        await instance.cont()
        await wait_beats(bench.log("a"))
        await instance.quit(5)
        await instance.wait_gone()
        await wait_for(lambda: isinstance(bench.events["a"][-1], Exited))
        assert bench.events["a"][-1] == Exited(0, bench.events["a"][-1].sentence)  # type: ignore[union-attr]
        assert [path for path in (bench.root / "a").rglob("*") if path.is_file()] == [bench.log("a")]
        with pytest.raises(HypervisorGone):
            await instance.run_state()

    run(body)


def test_an_exit_is_noticed_at_once(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        await instance.cont()
        began = time.monotonic()
        instance.kill()
        instance.kill()
        await instance.wait_gone()
        assert time.monotonic() - began < 1.0 * slowness()
        exits = [event for event in bench.events["a"] if isinstance(event, Exited)]
        assert [event.exit_code for event in exits] == [-9]
        assert bench.events["a"][-1] is exits[0]

    run(body)


def test_a_second_start_on_the_node_is_refused_while_it_lives(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        first = await bench.launch("a")
        await first.release()
        for launch in (Fresh(), Incoming()):
            with pytest.raises(RefusalError) as refused:
                await bench.launch("a", launch)
            assert refused.value.status == 5023
        adopted = await bench.hypervisors["a"].adopt(bench.vm_id, bench.paths["a"])
        assert adopted is not None
        bench.keep("a", adopted)
        await adopted.quit(5)
        await (await bench.launch("a")).cont()

    run(body)


def test_the_power_button_reaches_the_guest(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        await instance.cont()
        await wait_beats(bench.log("a"))
        await instance.shutdown_guest()
        await wait_for(lambda: GuestShutdown(by_guest=True) in bench.events["a"])
        assert await instance.run_state() is RunState.SHUTDOWN
        assert seen(bench, "a").other == ("OFF",)

    run(body)


def test_reset_starts_the_guest_anew(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        await instance.cont()
        await wait_beats(bench.log("a"), 20)
        await instance.reset()
        await wait_for(lambda: GuestReset() in bench.events["a"])
        await wait_for(lambda: 1 in seen(bench, "a").repeated)

    run(body)


@pytest.mark.parametrize("gone", ["directory", "runtime"])
def test_a_launch_without_its_directories_is_a_fault(run: Scenario, driver: str, gone: str) -> None:
    async def body(bench: Bench) -> None:
        paths = bench.paths["a"]
        shutil.rmtree(getattr(paths, gone))
        if driver == "fake" and gone == "runtime":
            return  # it keeps nothing there
        with pytest.raises(FaultError, match="No such file or directory"):
            await bench.launch("a")
        paths.runtime.mkdir(parents=True, exist_ok=True)
        await bench.launch("a")

    run(body)


def test_memory_counts_only_where_the_vm_does_not_run_yet(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        hypervisor = bench.hypervisors["a"]
        request = await bench.request("a", Fresh())
        pinned = replace(request.pinned, memory_bytes=1 << 60)
        with pytest.raises(RefusalError) as refused:
            await check_can_run(hypervisor, request.definition, pinned)
        assert refused.value.status == 5957
        await check_can_run(hypervisor, request.definition, pinned, running_here=True)

    run(body)


# --- who is told ---------------------------------------------------------------------------------------------------


def test_a_subscriber_that_raises_harms_nobody_else(run: Scenario) -> None:
    def broken(event: InstanceEvent) -> None:
        raise RuntimeError(f"cannot take {event}")

    async def body(bench: Bench) -> None:
        instance = await bench.hypervisors["a"].launch(await bench.request("a", Fresh()))
        instance.subscribe(broken)
        bench.keep("a", instance)
        await instance.cont()
        await instance.stop()
        await wait_for(lambda: RunStateChanged(RunState.PAUSED) in bench.events["a"])
        instance.kill()
        await wait_for(lambda: isinstance(bench.events["a"][-1], Exited))
        await instance.wait_gone()
        assert [type(event) for event in bench.events["a"]] == [RunStateChanged, RunStateChanged, Exited]

    run(body)


def test_who_subscribes_after_the_end_hears_of_it_once(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        instance.kill()
        await instance.wait_gone()
        late: list[InstanceEvent] = []
        too_late: list[InstanceEvent] = []
        instance.subscribe(late.append)
        instance.subscribe(too_late.append)()
        assert not late
        await wait_for(lambda: bool(late))
        instance.subscribe(lambda event: None)
        await asyncio.sleep(0.05)
        assert late == bench.events["a"][-1:]
        assert [type(event) for event in late] == [Exited]
        assert not too_late

    run(body)


def test_an_end_is_told_though_its_files_cannot_be_removed(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        shutil.rmtree(bench.paths["a"].runtime)
        instance.kill()
        await instance.wait_gone()
        await wait_for(lambda: isinstance(bench.events["a"][-1], Exited))

    run(body)


# --- adoption ------------------------------------------------------------------------------------------------------


def test_a_released_instance_lives_on_and_is_adopted(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        await instance.cont()
        pid, image, started = instance.pid, instance.image, instance.started_at
        await instance.release()
        await wait_beats(bench.log("a"))
        adopted = await bench.make("a").adopt(bench.vm_id, bench.paths["a"])
        assert adopted is not None
        bench.keep("a", adopted)
        with pytest.raises(FaultError):
            await instance.run_state()
        instance.kill()
        assert (adopted.pid, adopted.image, adopted.started_at) == (pid, image, started)
        assert await adopted.run_state() is RunState.RUNNING
        adopted.kill()
        await adopted.wait_gone()
        await wait_for(lambda: isinstance(bench.events["a"][-1], Exited))

    run(body)


def test_nothing_is_adopted_where_nothing_lives(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        hypervisor = bench.hypervisors["a"]
        assert await hypervisor.adopt(bench.vm_id, bench.paths["a"]) is None
        instance = await bench.launch("a")
        instance.kill()
        await instance.wait_gone()
        assert await hypervisor.adopt(bench.vm_id, bench.paths["a"]) is None

    run(body)


# --- saved images --------------------------------------------------------------------------------------------------


def test_save_and_restore_continue_the_count(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        image = bench.root / "image"
        instance = await bench.launch("a", guest=BUSY)
        await instance.cont()
        await wait_beats(bench.log("a"))
        with pytest.raises(RefusalError):
            await instance.save(image)
        assert not image.exists()
        await instance.stop()
        await instance.save(image)
        await instance.quit(5)
        assert [path.name for path in bench.root.iterdir() if path.is_file()] == ["image"]
        restored = await bench.launch("b", Restore(image), BUSY)
        assert await restored.run_state() is RunState.PAUSED
        await asyncio.sleep(0.05)
        assert not beats(bench.log("b"))
        await restored.cont()
        await wait_beats(bench.log("b"), 20)
        assert seen(bench, "a", "b").continuous

    run(body)


@pytest.mark.parametrize("content", [None, b"", b"this is no image" * 1000])
def test_a_broken_image_is_a_fault_and_leaves_nothing(run: Scenario, content: bytes | None) -> None:
    async def body(bench: Bench) -> None:
        image = bench.root / "image"
        if content is not None:
            image.write_bytes(content)
        with pytest.raises(FaultError):
            await bench.launch("a", Restore(image))
        assert await bench.hypervisors["a"].adopt(bench.vm_id, bench.paths["a"]) is None
        assert not list(bench.paths["a"].runtime.iterdir())
        await bench.launch("a")

    run(body)


@pytest.mark.parametrize("obstacle", ["no directory", "a full disk", "a name that is taken"])
def test_an_image_that_cannot_be_written_is_a_fault_and_the_guest_goes_on(
    run: Scenario, obstacle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(bench: Bench) -> None:
        images = bench.root / "images"
        image = images / "image"
        reason = "No such file or directory"
        if obstacle == "a full disk":
            images.mkdir()
            (images / "image.partial").symlink_to("/dev/full")
            monkeypatch.setattr(migration, "has_file_uri", lambda _version: False)  # QEMU would try to truncate it
            reason = "No space left on device|Input/output error"  # QEMU may remember no more than that
        elif obstacle == "a name that is taken":
            (image / "other").mkdir(parents=True)
            reason = "Is a directory"
        instance = await bench.launch("a", guest=BUSY)
        await instance.cont()
        await wait_beats(bench.log("a"))
        await instance.stop()
        with pytest.raises(FaultError, match=reason) as fault:
            await instance.save(image)
        assert str(image) in fault.value.sentence
        assert not [path for path in images.glob("*") if not path.is_dir()]
        await instance.cont()
        await wait_beats(bench.log("a"), 20)
        await instance.stop()
        await instance.save(bench.root / "image")
        assert seen(bench, "a").continuous

    run(body)


@dataclass
class SlowDisk:
    """Holds a transfer up from the first report to the third: they must come although it stands still."""

    bench: Bench
    node: str
    told: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bench.world.disk_bandwidth = 48e6

    def report(self, done: int) -> None:
        self.told.append(done)
        run_file = RunFile.read(self.bench.paths[self.node].run_file(self.bench.vm_id))
        if run_file is not None and len(self.told) in (1, 3):
            os.kill(run_file.pid, signal.SIGSTOP if len(self.told) == 1 else signal.SIGCONT)

    def check(self) -> None:
        assert len(self.told) > 3
        assert self.told == sorted(self.told)
        assert self.told[0] < self.told[-1]


def test_whoever_waits_for_an_image_is_told_how_far_it_is(run: Scenario, driver: str) -> None:
    async def body(bench: Bench) -> None:
        image = bench.root / "image"
        saving, restoring = SlowDisk(bench, "a"), SlowDisk(bench, "b")
        instance = await bench.launch("a", guest=BUSY)
        await instance.cont()
        await wait_beats(bench.log("a"))
        await instance.stop()
        await instance.save(image, saving.report)
        saving.check()
        await instance.quit(5)
        request = await bench.request("b", Restore(image), BUSY)
        bench.keep("b", await bench.hypervisors["b"].launch(request, restoring.report))
        restoring.check()
        assert restoring.told[-1] == saving.told[-1]
        if driver == "qemu":
            assert saving.told[-1] == image.stat().st_size

    run(body)


# --- migration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [0, 2])
@pytest.mark.parametrize("guest", [IDLE, BUSY], ids=["idle", "busy"])
def test_a_migration_that_we_stop_continues_the_count(run: Scenario, guest: BuiltinGuest, channels: int) -> None:
    async def body(bench: Bench) -> None:
        parameters = MigrationParameters(multifd_channels=channels)
        source, destination, uri = await bench.pair(guest, parameters)
        await wait_beats(bench.log("a"), 20)
        await hand_over(source, destination, uri, parameters)
        assert await source.run_state() is RunState.POSTMIGRATE
        assert await destination.run_state() is RunState.PAUSED
        assert not beats(bench.log("b"))
        await destination.cont()
        await destination.announce()
        await wait_beats(bench.log("b"), 20)
        await source.quit(5)
        report = seen(bench, "a", "b")
        assert report.continuous, report
        statuses = [event.status for event in bench.events["a"] if isinstance(event, MigrationChanged)]
        assert statuses[0] is MigrationStatus.SETUP
        assert statuses[-1] is MigrationStatus.COMPLETED
        assert PassStarted(1) in bench.events["a"]

    run(body)


def test_the_hypervisor_never_stops_the_source_by_itself(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, destination, uri = await bench.pair(IDLE, NOW)
        await source.migrate(uri, NOW)
        await converge(source)
        await asyncio.sleep(0.3)
        assert (await source.migration()).status is MigrationStatus.ACTIVE
        assert await source.run_state() is RunState.RUNNING
        assert RunStateChanged(RunState.PAUSED) not in bench.events["a"]
        await source.stop()
        await wait_status(destination, MigrationStatus.COMPLETED)

    run(body)


def test_an_incoming_instance_does_not_run_before_its_image_has_come(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, destination, uri = await bench.pair(IDLE, NOW)
        assert await destination.run_state() is RunState.INMIGRATE
        with pytest.raises(RefusalError):
            await destination.cont()
        await hand_over(source, destination, uri)
        await asyncio.sleep(0.05)
        assert await destination.run_state() is RunState.PAUSED
        await destination.cont()
        await wait_beats(bench.log("b"))

    run(body)


def test_cancel_leaves_the_source_running_and_it_can_migrate_again(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, destination, uri = await bench.pair(BUSY, SLOW)
        await source.migrate(uri, SLOW)
        await wait_status(source, MigrationStatus.ACTIVE)
        await source.migrate_cancel()
        await wait_status(source, MigrationStatus.CANCELLED, MigrationStatus.FAILED)
        await source.migrate_cancel()
        assert await source.run_state() is RunState.RUNNING
        destination.kill()
        await destination.wait_gone()
        again = await bench.launch("b", Incoming(prefault=False), BUSY)
        await hand_over(source, again, await again.listen(NOW))
        await again.cont()
        await wait_beats(bench.log("b"))
        assert seen(bench, "a", "b").continuous

    run(body)


def test_a_killed_destination_leaves_the_source_running(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, destination, uri = await bench.pair(BUSY, SLOW)
        await source.migrate(uri, SLOW)
        await wait_status(source, MigrationStatus.ACTIVE)
        await wait_beats(bench.log("a"))
        destination.kill()
        sample = await wait_status(source, MigrationStatus.FAILED)
        assert sample.sentence
        await wait_for(
            lambda: any(isinstance(event, MigrationChanged) and event.sentence for event in bench.events["a"])
        )
        assert await source.run_state() is RunState.RUNNING
        await wait_beats(bench.log("a"), 20)
        assert seen(bench, "a").continuous

    run(body)


def test_a_destination_killed_after_our_stop_leaves_the_source_stopped(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, destination, uri = await bench.pair(BUSY, SLOW)
        await source.migrate(uri, SLOW)
        await wait_status(source, MigrationStatus.ACTIVE)
        await wait_beats(bench.log("a"))
        await source.stop()
        destination.kill()
        await wait_status(source, MigrationStatus.FAILED)
        count = beats(bench.log("a"))
        await asyncio.sleep(0.1)
        assert await source.run_state() is RunState.PAUSED
        assert beats(bench.log("a")) == count
        await source.cont()
        await wait_beats(bench.log("a"))
        assert seen(bench, "a").continuous

    run(body)


def test_a_killed_source_fails_the_destination(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source, _, uri = await bench.pair(BUSY, SLOW)
        await source.migrate(uri, SLOW)
        await wait_status(source, MigrationStatus.ACTIVE)
        source.kill()
        failed = {MigrationStatus.FAILED}
        await wait_for(
            lambda: any(
                isinstance(event, Exited) or (isinstance(event, MigrationChanged) and event.status in failed)
                for event in bench.events["b"]
            )
        )

    run(body)


def test_nobody_at_the_address_is_a_failure_not_a_hang(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source = await bench.launch("a")
        await source.cont()
        with pytest.raises(FaultError):
            await source.migrate(f"unix:{bench.root}/nobody", NOW)
            assert (await wait_status(source, MigrationStatus.FAILED)).sentence
            raise FaultError(31, "the failure came as a status")  # type: ignore[arg-type]
        assert await source.run_state() is RunState.RUNNING

    run(body)


def test_silence_is_told_and_the_guest_is_not_blamed(run: Scenario, driver: str) -> None:
    async def body(bench: Bench) -> None:
        source, _, uri = await bench.pair(BUSY, SLOW)
        await source.migrate(uri, SLOW)  # silence is looked for while it matters
        if isinstance(source, FakeInstance):
            source.machine.set_mute(True)
        else:
            os.kill(source.pid, signal.SIGSTOP)
        began = time.monotonic()
        await wait_for(lambda: any(isinstance(event, Mute) for event in bench.events["a"]))
        assert time.monotonic() - began < 2.6 * slowness()
        if isinstance(source, FakeInstance):
            source.machine.set_mute(False)
        else:
            os.kill(source.pid, signal.SIGCONT)
        await wait_for(lambda: Speaking() in bench.events["a"])
        assert await source.run_state() is RunState.RUNNING
        await wait_beats(bench.log("a"))
        assert seen(bench, "a").continuous

    run(body)


# --- what only real processes have ---------------------------------------------------------------------------------


@pytest.fixture
def only_qemu(driver: str) -> None:
    if driver != "qemu":
        pytest.skip("about processes")


def open_files(pid: int) -> set[str]:
    names = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            names.add(str(entry.readlink()))
    return names


@pytest.mark.usefixtures("only_qemu")
def test_a_program_as_migration_address_is_refused(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        source = await bench.launch("a")
        for uri in ("exec:touch /tmp/x", "file:/etc/passwd", "fd:3", "unix:relative"):
            with pytest.raises(CallerError):
                await source.migrate(uri, NOW)

    run(body)


def listening_at(pid: int) -> set[str]:
    """The TCP addresses, as /proc/net/tcp writes them, at which a process listens."""
    sockets = open_files(pid)
    rows = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


@pytest.mark.usefixtures("only_qemu")
@pytest.mark.parametrize("channels", [0, 2])
def test_migration_over_tcp_tells_the_port_and_listens_at_one_address(run: Scenario, channels: int) -> None:
    async def body(bench: Bench) -> None:
        parameters = MigrationParameters(tcp_host="127.0.0.1", multifd_channels=channels)
        source, destination, uri = await bench.pair(IDLE, parameters)
        assert uri.startswith("tcp:127.0.0.1:")
        assert listening_at(destination.pid) == {f"0100007F:{int(uri.rpartition(':')[2]):04X}"}
        await hand_over(source, destination, uri, parameters)
        await destination.cont()
        await wait_beats(bench.log("b"))
        assert seen(bench, "a", "b").continuous

    run(body)


@pytest.mark.usefixtures("only_qemu")
def test_qemu_has_a_session_of_its_own_and_no_files_of_ours(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        assert os.getsid(instance.pid) == instance.pid
        files, ours = open_files(instance.pid), open_files(os.getpid())
        assert "/dev/null" in files
        assert str(bench.paths["a"].lock(bench.vm_id)) in files
        assert not [name for name in files & ours if name.startswith(("pipe:", "socket:"))]

    run(body)


@pytest.mark.usefixtures("only_qemu")
def test_a_reused_pid_is_neither_adopted_nor_killed(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        run_file = bench.paths["a"].run_file(bench.vm_id)
        text = run_file.read_text()
        await instance.quit(5)
        run_file.write_text(text.replace(f'"pid": {instance.pid}', f'"pid": {os.getpid()}'))
        assert await bench.hypervisors["a"].adopt(bench.vm_id, bench.paths["a"]) is None
        assert not run_file.exists()

    run(body)


@pytest.mark.usefixtures("only_qemu")
def test_a_qemu_whose_pid_was_never_noted_is_found(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        instance = await bench.launch("a")
        await instance.release()
        run_file = bench.paths["a"].run_file(bench.vm_id)
        run_file.write_text(run_file.read_text().replace(f'"pid": {instance.pid}', '"pid": 0'))
        adopted = await bench.hypervisors["a"].adopt(bench.vm_id, bench.paths["a"])
        assert adopted is not None
        assert bench.keep("a", adopted).pid == instance.pid

    run(body)


@pytest.mark.usefixtures("only_qemu")
def test_disks_and_network_cards_move_along(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        command = ["qemu-img", "create", "-q", "-f", "qcow2", str(bench.root / "a,b.qcow2"), "16M"]
        await asyncio.to_thread(subprocess.check_call, command)
        (bench.root / "b.raw").write_bytes(bytes(1 << 20))
        disks = (Disk(str(bench.root / "a,b.qcow2")), Disk(str(bench.root / "b.raw"), format=DiskFormat.RAW))
        nics = (Nic(NicKind.USER), Nic(NicKind.USER, model="e1000e"))
        bench.definition = VmDefinition("web1", 64 << 20, 2, guest=IDLE, disks=disks, nics=nics)
        source, destination, uri = await bench.pair(IDLE, NOW)
        await hand_over(source, destination, uri)
        await destination.cont()
        await destination.announce()
        await wait_beats(bench.log("b"))
        assert seen(bench, "a", "b").continuous
        with pytest.raises(FaultError):
            await source.cont()  # the image lock: QEMU itself refuses a second copy of a VM with disks
        assert await source.run_state() is not RunState.RUNNING

    run(body)


@pytest.mark.usefixtures("only_qemu")
def test_a_qemu_that_cannot_be_noted_is_ended(run: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RunFile.write

    def write_first(run_file: RunFile, path: Path) -> None:
        if run_file.pid:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(run_file, path)

    async def body(bench: Bench) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(RunFile, "write", write_first)
            with pytest.raises(FaultError, match="No space left"):
                await bench.launch("a")
        assert not list(bench.paths["a"].runtime.iterdir())
        await bench.launch("a")

    run(body)


@pytest.mark.usefixtures("only_qemu")
def test_a_run_file_that_cannot_be_read_does_not_mean_that_nothing_lives(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        run_file = bench.paths["a"].run_file(bench.vm_id)
        run_file.mkdir()
        with pytest.raises(FaultError, match="Is a directory"):
            await bench.hypervisors["a"].adopt(bench.vm_id, bench.paths["a"])
        run_file.rmdir()

    run(body)


DAEMON = """
import asyncio, sys
from pathlib import Path
from quorate.clusapi.identity import ImageId, VmId
from quorate.hypervisor.contract import Fresh, LaunchRequest, VmPaths
from quorate.hypervisor.definition import BuiltinGuest, VmDefinition
from quorate.hypervisor.qemu.driver import QemuHypervisor, QemuSettings

async def main(directory: Path, runtime: Path, vm_id: VmId) -> None:
    hypervisor = QemuHypervisor(QemuSettings(directory / "kvm"))
    definition = VmDefinition("web1", 64 << 20, guest=BuiltinGuest(200))
    pinned = await hypervisor.pin(definition)
    paths = VmPaths(directory, runtime)
    instance = await hypervisor.launch(LaunchRequest(vm_id, "web1", ImageId("i"), definition, pinned, paths, Fresh()))
    await instance.cont()
    print(instance.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), VmId(sys.argv[3])))
"""


@pytest.mark.usefixtures("only_qemu")
def test_a_guest_survives_the_death_of_its_daemon(run: Scenario) -> None:
    async def body(bench: Bench) -> None:
        paths = bench.paths["a"]
        environment = os.environ | {"QUORATE_ACCELERATOR": "tcg"}
        daemon = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", DAEMON, paths.directory, paths.runtime, bench.vm_id),
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert daemon.stdout is not None
        pid = int(await daemon.stdout.readline())
        daemon.kill()
        assert await daemon.stdout.read() == b""  # nobody holds the other end
        await daemon.wait()
        adopted = await bench.hypervisors["a"].adopt(bench.vm_id, paths)
        assert adopted is not None
        assert bench.keep("a", adopted).pid == pid
        assert await adopted.run_state() is RunState.RUNNING
        await wait_beats(bench.log("a"), 20)
        assert seen(bench, "a").continuous
        await adopted.quit(5)
        assert bench.events["a"][-1] == Exited(None, "QEMU has ended")

    run(body)


@pytest.mark.usefixtures("only_qemu")
def test_an_older_qemu_is_handed_the_open_image_file(run: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "has_file_uri", lambda _version: False)
    test_save_and_restore_continue_the_count(run)
