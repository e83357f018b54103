"""The hands of a migration's destination where words were lost; all else is tried on real processes."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from quorate.clusapi.identity import GroupId, ImageId, NodeId, SessionId, VmId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.progress import MigrationProgress
from quorate.clusapi.states import MigrationState
from quorate.engine.context import EngineContext
from quorate.engine.hosted import HostedVm
from quorate.engine.incoming_session import IncomingSession
from quorate.engine.migrations import Migrations
from quorate.engine.run_changes import PAGES_MISSING
from quorate.hypervisor import contract as hv
from quorate.migration.incoming import Incoming, Outcome, Phase
from quorate.migration.incoming_events import AskSession, Event, PagesFlow, PagesStopped, SessionDead, SourceSilent
from quorate.migration.ownership import OwnershipRecord
from quorate.migration.recovery import FoundIncoming, IncomingJournal, recover_incoming
from quorate.peers.messages import OfSession, SessionAnswer

ONE, TWO = NodeId("1"), NodeId("2")
SOURCE, HERE = ImageId("there"), ImageId("here")
GROUP, SESSION = GroupId("g"), SessionId("s")
GIFT = OwnershipRecord(TWO, 2, HERE, ONE, SOURCE, 2)
MARKED = OwnershipRecord(TWO, 3, HERE, None, None, 3)


@dataclass
class Qemu:
    """Says what it is told to; of its run state each time the next."""

    status: hv.MigrationStatus
    states: list[hv.RunState] = field(default_factory=lambda: [hv.RunState.RUNNING])
    is_gone: bool = False

    async def migration(self) -> hv.MigrationSample:
        return hv.MigrationSample(self.status)

    async def run_state(self) -> hv.RunState:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def subscribe(self, callback: Callable[[hv.InstanceEvent], None]) -> object:
        return lambda: None

    def kill(self) -> None:
        self.is_gone = True

    async def wait_gone(self) -> None:
        assert self.is_gone


@dataclass
class Peers:
    """The source."""

    answer: SessionAnswer
    asked: list[OfSession] = field(default_factory=list)

    async def call(self, node: NodeId, kind: str, body: JsonObject, *, timeout: float) -> JsonObject:
        assert (node, kind) == (ONE, "session")
        self.asked.append(OfSession.from_json(body))
        return self.answer.to_json()


@dataclass
class Lease:
    incarnation: str = "1"


@dataclass
class Context:
    peers: Peers
    node_name: str = "node2"
    lease: Lease = field(default_factory=Lease)

    def now(self) -> float:
        return 100.0


@dataclass
class Vm:
    progress: MigrationProgress = field(default_factory=lambda: MigrationProgress(state=MigrationState.NO_MIGRATION))

    def show(self, progress: MigrationProgress) -> None:
        self.progress = progress


class Recorded(IncomingSession):
    """Remembers what its brain has heard."""

    heard: list[Event]
    has_loaded: asyncio.Event

    def post(self, event: Event) -> None:
        self.heard.append(event)
        super().post(event)
        if self.brain.phase is Phase.LOADED:
            self.has_loaded.set()


def session_of(brain: Incoming, qemu: Qemu | None, answer: SessionAnswer) -> tuple[Recorded, Peers]:
    async def ended(session: IncomingSession) -> None:
        await asyncio.Event().wait()  # there is no journal to forget

    peers = Peers(answer)
    context = cast("EngineContext", Context(peers))
    instance = cast("hv.Instance | None", qemu)
    session = Recorded(context, GROUP, VmId("v"), "web1", brain, ended, instance=instance)
    session.heard, session.has_loaded = [], asyncio.Event()
    return session, peers


def brain(phase: Phase) -> Incoming:
    missing = phase in (Phase.FETCHING, Phase.RECONNECTING)
    return Incoming(SESSION, TWO, ONE, HERE, SOURCE, phase=phase, heard=99.0, record=MARKED, pages_missing=missing)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("phase", [Phase.FETCHING, Phase.RECONNECTING])
def test_a_guest_that_has_all_pages_outlives_a_source_that_has_nothing_left(phase: Phase) -> None:
    """Its own word that it has them was lost while it was mute."""

    async def run() -> None:
        qemu = Qemu(hv.MigrationStatus.COMPLETED)
        session, _ = session_of(brain(phase), qemu, SessionAnswer(known=False))
        session.carry_on((AskSession(),))
        await settle()
        assert session.brain.outcome is Outcome.RUNS
        assert not qemu.is_gone

    asyncio.run(run())


def test_a_guest_that_misses_pages_does_not() -> None:
    async def run() -> None:
        qemu = Qemu(hv.MigrationStatus.POSTCOPY_PAUSED)
        session, _ = session_of(brain(Phase.RECONNECTING), qemu, SessionAnswer(known=False))
        session.carry_on((AskSession(),))
        await settle()
        assert session.brain.outcome is Outcome.IMAGE_LOST
        assert qemu.is_gone

    asyncio.run(run())


@pytest.mark.parametrize("phase", [Phase.LEFT, Phase.FETCHING, Phase.RECONNECTING])
def test_a_source_that_may_have_more_than_it_knows_has_said_nothing(phase: Phase) -> None:
    async def run() -> None:
        qemu = Qemu(hv.MigrationStatus.POSTCOPY)
        session, peers = session_of(brain(phase), qemu, SessionAnswer(known=False, is_certain=False))
        session.carry_on((AskSession(),))
        await settle()
        assert session.heard == [SourceSilent()]
        assert not session.brain.given_up
        peers.answer = SessionAnswer(known=False)
        session.carry_on((AskSession(),))
        await settle()
        assert SessionDead() in session.heard
        assert {one.group for one in peers.asked} == {GROUP}

    asyncio.run(run())


def test_whether_pages_come_is_shown_and_since_when_not() -> None:
    async def run() -> None:
        session, _ = session_of(brain(Phase.FETCHING), None, SessionAnswer(known=True))
        vm = Vm()
        session.vm = cast("HostedVm", vm)
        session.show_fetching()
        assert (vm.progress.phase, vm.progress.percent) == ("fetching pages", 99)
        session.post(PagesStopped("the connection broke"))
        assert vm.progress.phase == "reconnecting"
        assert re.match(r"since \d\d:\d\d:\d\d UTC: the connection broke", vm.progress.sentence)
        session.post(PagesFlow())
        assert (vm.progress.phase, vm.progress.sentence) == ("fetching pages", PAGES_MISSING)

    asyncio.run(run())


def test_only_what_is_left_of_the_same_group_makes_an_answer_uncertain() -> None:
    migrations = Migrations.__new__(Migrations)
    migrations.outgoing, migrations.incoming, migrations.has_looked = {}, {}, True
    migrations.recovering = {GroupId("other")}

    def certain(group: GroupId | None) -> bool:
        said = migrations.on_message("session", OfSession(SESSION, group=group))
        return SessionAnswer.from_json(said).is_certain

    assert certain(GROUP)
    assert not certain(GroupId("other"))
    assert not certain(None), "an older node does not say whose it is"
    migrations.has_looked = False
    assert not certain(GROUP)


def test_a_daemon_that_comes_back_looks_whether_its_guest_can_run() -> None:
    """QEMU has said that it is in post-copy while nobody was there, before it had read the devices' state."""

    async def run() -> None:
        journal = IncomingJournal(SESSION, TWO, ONE, HERE, SOURCE, None, cont_may_be_out=False)
        step = recover_incoming(journal, GIFT, FoundIncoming.RECEIVING, 100.0, pages_missing=True)
        assert not step.state.pages_missing, "nobody knows yet"
        states = [hv.RunState.INMIGRATE, hv.RunState.INMIGRATE, hv.RunState.PAUSED]
        session, _ = session_of(step.state, Qemu(hv.MigrationStatus.POSTCOPY, states), SessionAnswer(known=True))
        session.carry_on(step.effects)
        await settle()
        assert session.brain.phase is Phase.RECEIVING
        async with asyncio.timeout(10):
            await session.has_loaded.wait()
        assert session.brain.pages_missing

    asyncio.run(run())
