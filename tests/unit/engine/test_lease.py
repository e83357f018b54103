"""The thread that keeps the lease, on a store in memory that a test can silence."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
import structlog

from quorate.clusapi.identity import NodeId
from quorate.cluster import lease as brain
from quorate.cluster.lease_events import Terms
from quorate.database import keys
from quorate.database.contract import Compare, Outcome, Put, Record, StoreUnavailable, Write
from quorate.database.memory import MemoryBlockingStore, MemoryData
from quorate.database.records import Lease
from quorate.engine.guard_file import boottime
from quorate.engine.lease import LeaseKeeper, lease_to_brain, lease_to_database

ME = NodeId("1")
KEY = keys.lease(ME)
QUICK = Terms(delay=0.02, duration=0.3, resilience=1.0)
LONG = replace(QUICK, duration=60.0)
"""For what must not lapse, however long the machine is busy with something else."""


class Leash(MemoryBlockingStore):
    """A store that says when it is written to, and falls silent at a word."""

    def __init__(self, rig: "Rig") -> None:
        super().__init__(rig.data)
        self._rig = rig

    def get(self, key: str) -> Record | None:
        if self._rig.silent:
            raise StoreUnavailable("the test has silenced the database")
        return super().get(key)

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        (write,) = writes
        assert isinstance(write, Put)
        self._rig.log.append(Lease.decode(write.value))
        if self._rig.silent:
            raise StoreUnavailable("the test has silenced the database")
        outcome = super().transact(compares, writes)
        if self._rig.mute:
            raise StoreUnavailable("the test keeps the answer")
        return outcome


@dataclass
class Rig:
    """A keeper and what it does."""

    data: MemoryData = field(default_factory=MemoryData)
    terms: Terms = QUICK
    seen: int = 17
    silent: bool = False
    mute: bool = False
    breaks: bool = False
    is_member: bool = True
    log: list[Lease | float] = field(default_factory=list)
    """Deadlines told and renewals sent, in their order."""
    over: float = 0.0

    def __post_init__(self) -> None:
        self.keeper = LeaseKeeper(
            ME,
            lambda: Leash(self),
            "me",
            terms=self.say_terms,
            seen=lambda: self.seen,
            is_member=lambda: self.is_member,
            on_deadline=self.log.append,
            over=self.over,
        )

    def say_terms(self) -> Terms:
        if self.breaks:
            raise ValueError("a test breaks it")
        return self.terms

    def record(self) -> Lease:
        found = self.data.get(KEY)
        assert found is not None
        return Lease.decode(found.value)

    def deadlines(self) -> list[float]:
        return [entry for entry in self.log if isinstance(entry, float)]

    def end(self) -> None:
        """End the lease as a coordinator does."""
        while True:
            found = self.data.get(KEY)
            assert found is not None
            ended = replace(Lease.decode(found.value), ended=True)
            if self.data.transact((Compare(KEY, found.revision),), (Put(KEY, ended.encode()),)).succeeded:
                return


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.002)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.keeper.stop()


def test_it_holds_and_renews_with_what_its_view_and_the_properties_say(rig: Rig) -> None:
    rig.terms = LONG
    assert rig.keeper.start(5.0)
    assert rig.keeper.is_held and rig.keeper.may_run
    first = next(entry for entry in rig.log if isinstance(entry, Lease))
    assert first == Lease("me.1", 1, 60.0, seen=17, resilience=1.0, joining=True)
    since = rig.keeper.since_revision
    rig.seen, rig.terms = 18, replace(QUICK, duration=70.0)
    wait_for(lambda: rig.record().seen == 18 and rig.record().duration == 70.0)
    wait_for(lambda: rig.record().sequence > 4)
    assert rig.keeper.since_revision == since == 1 and rig.keeper.incarnation == "me.1"
    assert rig.deadlines() == sorted(rig.deadlines())


def test_it_says_at_once_that_the_node_has_joined(rig: Rig) -> None:
    rig.terms = replace(QUICK, delay=60.0, duration=300.0)
    assert rig.keeper.start(5.0) and rig.record().joining and rig.keeper.is_joining
    rig.keeper.joined()
    wait_for(lambda: not rig.record().joining)
    assert not rig.keeper.is_joining


def test_silence_is_a_lapse_and_the_next_answer_another_incarnation(rig: Rig) -> None:
    assert rig.keeper.start(5.0)
    rig.silent = True
    wait_for(lambda: not rig.keeper.is_held)
    assert rig.keeper.incarnation == "me.2" and not rig.keeper.may_run
    told = rig.deadlines()
    assert told[-1] <= boottime()
    rig.silent = False
    wait_for(lambda: rig.keeper.is_held)
    assert rig.record().incarnation == rig.keeper.incarnation == "me.2"
    assert rig.keeper.since_revision == 1, "nobody has ended it"


def test_promises_carry_it_on_and_are_told_to_the_guard(rig: Rig) -> None:
    rig.terms = LONG
    assert rig.keeper.start(5.0)
    rig.silent = True
    wait_for(lambda: not rig.keeper.is_writable)
    sent = boottime()
    rig.keeper.promised(sent, 60.0, capped=False)
    assert rig.deadlines()[-1] == rig.keeper.deadline == pytest.approx(sent + 60.0)
    holder = rig.keeper.holder()
    between = (holder.lease_until + holder.deadline) / 2
    assert not holder.is_held(between) and holder.may_run(between)
    rig.silent = False
    wait_for(lambda: rig.keeper.is_writable)
    assert rig.keeper.incarnation == "me.1"


def test_a_shorter_lease_is_told_to_the_guard_before_it_is_sent(rig: Rig) -> None:
    rig.terms = replace(QUICK, duration=60.0)
    assert rig.keeper.start(5.0)
    rig.terms = QUICK
    wait_for(lambda: any(isinstance(entry, Lease) and entry.duration == 0.3 for entry in rig.log))
    index = next(i for i, entry in enumerate(rig.log) if isinstance(entry, Lease) and entry.duration == 0.3)
    told = rig.log[index - 1]
    assert isinstance(told, float) and told < boottime() + 0.3


def test_what_an_earlier_daemon_has_left_with_the_guard_is_shortened_by_the_first_renewal() -> None:
    rig = Rig(over=boottime() + 60.0, mute=True)
    try:
        assert not rig.keeper.start(0.1)
        wait_for(lambda: len(rig.deadlines()) > 0)
        assert rig.deadlines()[0] < boottime() + 0.3 and isinstance(rig.log[1], Lease)
    finally:
        rig.keeper.stop()


def test_a_lost_answer_is_made_good_by_the_next_renewal(rig: Rig) -> None:
    rig.terms = LONG
    assert rig.keeper.start(5.0)
    rig.mute = True
    sequence = rig.record().sequence
    wait_for(lambda: rig.record().sequence > sequence)
    rig.mute = False
    wait_for(lambda: rig.keeper.is_writable and rig.record().sequence > sequence + 2)
    assert rig.keeper.incarnation == "me.1"


def test_an_ended_lease_is_noticed_and_another_incarnation_begins(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brain, "REST", 0.5)
    assert rig.keeper.start(5.0)
    ended_at = boottime()
    rig.end()
    wait_for(lambda: rig.keeper.incarnation == "me.2")
    assert not rig.keeper.may_run and ended_at <= rig.deadlines()[-1] <= boottime()
    wait_for(lambda: rig.keeper.is_held)
    assert (rig.record().incarnation, rig.record().ended) == ("me.2", False)


def test_an_evicted_node_lets_its_lease_run_out(rig: Rig) -> None:
    assert rig.keeper.start(5.0)
    rig.is_member = False
    wait_for(lambda: not rig.keeper.is_held)
    sequence = rig.record().sequence
    rig.is_member = True
    wait_for(lambda: rig.keeper.is_held)
    assert rig.record().sequence > sequence


def test_whatever_breaks_it_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.engine.lease.AFTER_A_FAULT", 0.02)
    monkeypatch.setattr("quorate.engine.lease._log", structlog.testing.CapturingLogger())
    assert rig.keeper.start(5.0)
    rig.breaks = True
    wait_for(lambda: not rig.keeper.is_held)
    rig.breaks = False
    wait_for(lambda: rig.keeper.is_held)
    rig.data.transact((), (Put(KEY, b"not a lease"),))
    wait_for(lambda: not rig.keeper.is_held)
    rig.data.transact((), (Put(KEY, Lease("other.1", 99, 0.3).encode()),))
    wait_for(lambda: rig.keeper.is_held)
    assert rig.record().sequence > 99


def test_nothing_goes_out_that_the_guard_could_not_be_told_of(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.engine.lease.AFTER_A_FAULT", 0.02)
    monkeypatch.setattr("quorate.engine.lease._log", structlog.testing.CapturingLogger())
    rig.terms = replace(QUICK, duration=60.0)
    assert rig.keeper.start(5.0)
    refused = threading.Event()

    def refuse(deadline: float) -> None:
        refused.set()
        raise OSError("no guard file")

    monkeypatch.setattr(rig.keeper, "_on_deadline", refuse)
    rig.terms = QUICK
    assert refused.wait(5.0)
    wait_for(lambda: not rig.keeper.is_held)
    assert rig.record().duration == 60.0


def test_a_lease_is_the_same_in_the_database_and_in_the_brain() -> None:
    lease = Lease("me.1", 4, 5.0, seen=3, resilience=2.0, ended=True, joining=True)
    assert lease_to_database(lease_to_brain(lease)) == lease
