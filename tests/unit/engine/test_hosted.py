"""The durable writes about a virtual machine, where the database has its own way."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, ImageId, NodeId, VmId
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ConflictingOwnership
from quorate.database.records import Ownership, RunState, Versioned, VmRunState
from quorate.engine.context import EngineContext
from quorate.engine.hosted import HostedVm

ME, OTHER = NodeId("1"), NodeId("2")
GROUP, IMAGE = GroupId("group"), ImageId("new")


@dataclass
class Database:
    """Has one record of ownership, and loses the answers of so many writes that land."""

    record: Versioned[Ownership]
    lost: int = 0
    written: list[RunState] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def put(self, holder: NodeId, image: ImageId | None) -> None:
        value = Ownership(holder, self.record.value.epoch + 1, image)
        self.record = Versioned(value, self.record.revision + 1)

    async def change_ownership(
        self, group: GroupId, expected: Versioned[Ownership], new: Ownership, run: RunState, events: object = ()
    ) -> Versioned[Ownership] | ConflictingOwnership:
        if expected.revision == self.record.revision:
            self.record = Versioned(new, self.record.revision + 1)
            self.written.append(run)
            if self.lost:
                self.lost -= 1
                self.before()
                raise TimeoutError
            return self.record
        return ConflictingOwnership(self.record)


@dataclass
class Snapshot:
    groups: dict[GroupId, object] = field(default_factory=dict)


@dataclass
class View:
    snapshot: Snapshot = field(default_factory=Snapshot)


@dataclass
class Context:
    database: Database
    node: NodeId = ME
    view: View = field(default_factory=View)

    def name_of(self, node: NodeId) -> str:
        return f"node{node}"

    def event(self, *arguments: object, **options: object) -> EventRecord:
        raise AssertionError("nobody asked for an event")


def owned(database: Database) -> HostedVm:
    context = cast("EngineContext", Context(database))
    run = RunState(vm=VmRunState(vm_state=3, saved_image=ImageId("old")))
    return HostedVm(context, GROUP, VmId("vm"), database.record, run)


def mine() -> Database:
    return Database(Versioned(Ownership(ME, 4, None), 40))


def run(body: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(body, 10.0))


def test_a_start_goes_on_after_a_write_of_its_own_whose_answer_was_lost() -> None:
    database = mine()
    database.lost = 1
    vm = owned(database)
    run(vm.keep(IMAGE, "the start"))
    assert vm.ownership == database.record and vm.ownership.value.epoch == 6


def test_a_start_does_not_go_on_across_another_owner() -> None:
    database = mine()
    database.lost = 1

    def elsewhere() -> None:
        database.put(OTHER, None)
        database.put(ME, ImageId("theirs"))

    database.before = elsewhere
    vm = owned(database)
    with pytest.raises(RefusalError) as refused:
        run(vm.keep(IMAGE, "the start"))
    assert refused.value.status == Status.ERROR_HOST_NODE_NOT_GROUP_OWNER and "meanwhile" in refused.value.sentence
    assert database.record.value.image == ImageId("theirs"), "what it knew of the saved image may be long untrue"


def test_what_was_let_go_starts_nothing_any_more() -> None:
    database = mine()
    vm = owned(database)
    vm.is_let_go = True
    with pytest.raises(RefusalError):
        run(vm.keep(IMAGE, "the start"))
    assert not database.written
