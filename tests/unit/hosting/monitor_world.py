"""A host with real monitor processes and a type that misbehaves at a word; for tests here and above.

What a resource stands for is a file that is there while it runs: it outlives the monitor process, as a service does.
Its polls are counted in another file, so that a test can see that they go on, whatever the host says.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.hosting.fakes import MemoryProperties, MemoryRunStates, PlainGroup, PlainResource

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.property_lists import PropertyFormat, PropertyValue
from quorate.clusapi.states import ResourceState
from quorate.hosting.contract import PropertyScope, ResourceFailure, ResourceProperties, ResourceStateChange
from quorate.hosting.host import Host
from quorate.hosting.monitor_pool import MonitorNews, MonitorNewsKind, MonitorPool
from quorate.hosting.shared_deadline import SharedDeadline

R = ResourceState
GROUP = PlainGroup(GroupId("g"), "group")
GOOD, BAD, ALONE = ResourceId("good"), ResourceId("bad"), ResourceId("alone")
STRANGE = '''
import ctypes, os, threading, time
from pathlib import Path
from quorate.clusapi.status import Status
from quorate.clusapi.states import ResourceState, ResourceStatus
from quorate.hosting.contract import ControlAnswer, NOT_MINE

class Strange:
    """Does what the file named like the resource says."""
    def open(self, resource):
        self.directory = Path(resource.settings["directory"])
        self.act("open", resource.resource_id)
    def close(self, resource_id): self.act("close", resource_id)
    def file(self, resource_id, what): return self.directory / f"{resource_id}.{what}"
    def act(self, entry, resource_id):
        path = self.directory / resource_id
        mood = path.read_text() if path.exists() else ""
        if mood == f"hang in {entry}":
            self.file(resource_id, "hangs").touch()
            time.sleep(600)
        if mood == f"exit in {entry}": os._exit(3)
        if mood == f"crash in {entry}": ctypes.string_at(0)
        if mood == f"raise in {entry}": raise RuntimeError("oh no")
        return mood
    def online(self, resource_id, parameters, report):
        mood = self.act("online", resource_id)
        if mood == "lacks":
            report(ResourceState.FAILED, 1, "too small", status=Status.ERROR_NOT_ENOUGH_MEMORY,
                   lacking=ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_CPU)
            return Status.ERROR_IO_PENDING
        if mood in ("pending", "pending for ever", "silent"):
            def work():
                checkpoint = 0
                while mood == "pending for ever" or (mood == "pending" and checkpoint < 3):
                    checkpoint += 1
                    if not report(ResourceState.ONLINE_PENDING, checkpoint, f"step {checkpoint}"):
                        self.file(resource_id, "stopped").touch()
                        return
                    time.sleep(0.01)
                if mood == "pending":
                    self.file(resource_id, "runs").touch()
                    report(ResourceState.ONLINE, 4, "there")
            threading.Thread(target=work, daemon=True).start()
            return Status.ERROR_IO_PENDING
        self.file(resource_id, "runs").touch()
        return Status.ERROR_SUCCESS
    def offline(self, resource_id, request, report):
        self.act("offline", resource_id)
        self.file(resource_id, "runs").unlink(missing_ok=True)
        return Status.ERROR_SUCCESS
    def terminate(self, resource_id):
        self.act("terminate", resource_id)
        self.file(resource_id, "runs").unlink(missing_ok=True)
        self.file(resource_id, "terminated").touch()
    def looks_alive(self, resource_id):
        with self.file(resource_id, "polls").open("a") as polls: polls.write(".")
        return self.act("looks_alive", resource_id) != "looks dead"
    def is_alive(self, resource_id):
        self.act("is_alive", resource_id)
        return self.file(resource_id, "runs").exists()
    def resource_control(self, resource_id, code, data, parameters):
        self.act("control", resource_id)
        if data == b"echo": return ControlAnswer(Status.ERROR_SUCCESS, data, changes={"Gone": None, **parameters})
        if data == b"long": return ControlAnswer(Status.ERROR_SUCCESS, bytes(5 << 20))
        return NOT_MINE
    def resource_type_control(self, code, data, parameters):
        if data == b"hang": time.sleep(600)
        if data == b"exit": os._exit(3)
        return NOT_MINE
'''


def strange_environment(directory: Path) -> dict[str, str]:
    """The environment of monitors in which the type is installed, below a directory."""
    place = directory / "site"
    metadata = place / "strange-1.0.dist-info"
    metadata.mkdir(parents=True)
    (place / "strange_type.py").write_text(STRANGE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[quorate.resource_types]\nStrange = strange_type:Strange\nMissing = no_such_module:Missing\n"
    )
    return {**os.environ, "PYTHONPATH": str(place)}


@dataclass
class MonitorWorld:
    """A host, its monitors, and what was heard of them."""

    directory: Path
    pool: MonitorPool
    deadline: SharedDeadline
    store: MemoryProperties = field(default_factory=MemoryProperties)
    runs: MemoryRunStates = field(default_factory=MemoryRunStates)
    news: list[MonitorNews] = field(default_factory=list)
    failures: list[ResourceFailure] = field(default_factory=list)
    changes: list[ResourceStateChange] = field(default_factory=list)
    restarts: bool = False  # whether what failed is brought online again

    def __post_init__(self) -> None:
        """Build the host."""
        self.host = Host(
            [],
            self.store,
            self.runs,
            monitors=self.pool,
            settings={"directory": str(self.directory)},
            on_state_changed=self.changes.append,
            on_failed=self._on_failed,
            on_monitor_news=self.news.append,
        )

    def _on_failed(self, failure: ResourceFailure) -> None:
        self.failures.append(failure)
        if self.restarts:
            asyncio.get_running_loop().call_soon(self.host.restart_resource, failure.resource_id)

    async def attach(self, *resources: PlainResource, states: Mapping[ResourceId, R] | None = None) -> None:
        """Host a group of these resources."""
        await self.host.attach_group(GROUP, resources, states or {})

    def mood(self, resource_id: ResourceId, mood: str) -> None:
        """Say how a resource is to behave from now on."""
        path = self.directory / resource_id
        path.with_suffix(".new").write_text(mood)
        path.with_suffix(".new").replace(path)

    def put(self, resource_id: ResourceId, **numbers: int) -> None:
        """Set common properties."""
        values = {name: PropertyValue.of(PropertyFormat.DWORD, number) for name, number in numbers.items()}
        self.store.values[ResourceProperties(resource_id, PropertyScope.COMMON)] = values

    def exists(self, resource_id: ResourceId, what: str) -> bool:
        """Answer whether the type has left a mark: runs, hangs, terminated, stopped."""
        return (self.directory / f"{resource_id}.{what}").exists()

    def polls(self, resource_id: ResourceId) -> int:
        """How often LooksAlive was called."""
        path = self.directory / f"{resource_id}.polls"
        return path.stat().st_size if path.exists() else 0

    def heard(self, kind: MonitorNewsKind) -> list[str]:
        """The sentences of the news of a kind."""
        return [news.sentence for news in self.news if news.kind is kind]

    async def until(self, condition: Callable[[], bool], within: float = 60.0) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def until_state(self, resource_id: ResourceId, state: R) -> None:
        """Wait for a state."""
        await self.until(lambda: self.host.state(resource_id) == state)

    async def until_polled(self, *resources: ResourceId, times: int = 3) -> None:
        """Wait until each was polled so many times more."""
        wanted = {item: self.polls(item) + times for item in resources}
        await self.until(lambda: all(self.polls(item) >= number for item, number in wanted.items()))

    async def try_online(self, resource_id: ResourceId) -> None:
        """Ask for a resource to come online; whether the answer is quick enough to be a refusal is not of interest."""
        with suppress(RefusalError):
            await self.host.online_resource(resource_id)

    async def online(self, *resources: ResourceId) -> None:
        """Bring resources online."""
        for item in resources:
            await self.host.online_resource(item)
            await self.until_state(item, R.ONLINE)


def strange(resource_id: ResourceId, *providers: ResourceId) -> PlainResource:
    """A resource of the type."""
    return PlainResource(resource_id, resource_id, "Strange", GROUP.id, providers)


def monitor_test(
    environment: Mapping[str, str], directory: Path, body: Callable[[MonitorWorld], Awaitable[None]]
) -> None:
    """Run a test with GOOD and BAD, which share a monitor, and ALONE, which has its own; all are polled often."""

    async def main() -> None:
        deadline = SharedDeadline()
        world = MonitorWorld(directory, MonitorPool(environment, deadline), deadline)
        for item in (GOOD, BAD, ALONE):
            world.put(item, LooksAlivePollInterval=10, SeparateMonitor=int(item == ALONE))
        await world.attach(strange(GOOD), strange(BAD), strange(ALONE))
        try:
            async with asyncio.timeout(240):
                await body(world)
        finally:
            await world.host.close()
            deadline.close()

    asyncio.run(main())
