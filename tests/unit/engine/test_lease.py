"""The thread that keeps the lease, on a store in memory that a test can silence and a clock that it can put forward.

Nothing lapses because a machine is slow: leases are long, and one that is to be over is over when a test says so.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
import structlog
from tests.waiting import PATIENCE, wait_until

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
    terms: Terms = LONG
    seen: int = 17
    silent: bool = False
    mute: bool = False
    breaks: bool = False
    is_member: bool = True
    log: list[Lease | float] = field(default_factory=list)
    """Deadlines told and renewals sent, in their order."""
    over: float = 0.0
    ahead: float = 0.0
    """Seconds by which the clock was put forward."""

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

    def now(self) -> float:
        return boottime() + self.ahead

    def lapse(self) -> None:
        """Let the lease run out that nobody renews any more."""
        self.ahead += LONG.duration
        wait_until(lambda: not self.keeper.is_held)

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


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    made = Rig()
    monkeypatch.setattr("quorate.engine.lease.boottime", made.now)
    yield made
    made.keeper.stop()


def test_it_holds_and_renews_with_what_its_view_and_the_properties_say(rig: Rig) -> None:
    assert rig.keeper.start(PATIENCE)
    assert rig.keeper.is_held and rig.keeper.may_run
    first = next(entry for entry in rig.log if isinstance(entry, Lease))
    assert first == Lease("me.1", 1, 60.0, seen=17, resilience=1.0, joining=True)
    since = rig.keeper.since_revision
    rig.seen, rig.terms = 18, replace(QUICK, duration=70.0)
    wait_until(lambda: rig.record().seen == 18 and rig.record().duration == 70.0)
    wait_until(lambda: rig.record().sequence > 4)
    assert rig.keeper.since_revision == since == 1 and rig.keeper.incarnation == "me.1"
    assert rig.deadlines() == sorted(rig.deadlines())


def test_it_says_at_once_that_the_node_has_joined(rig: Rig) -> None:
    rig.terms = replace(QUICK, delay=60.0, duration=300.0)
    assert rig.keeper.start(PATIENCE) and rig.record().joining and rig.keeper.is_joining
    rig.keeper.joined()
    wait_until(lambda: not rig.record().joining)
    assert not rig.keeper.is_joining


def test_silence_is_a_lapse_and_the_next_answer_another_incarnation(rig: Rig) -> None:
    assert rig.keeper.start(PATIENCE)
    rig.silent = True
    rig.lapse()
    assert rig.keeper.incarnation == "me.2, not held yet" and not rig.keeper.may_run
    told = rig.deadlines()
    assert told[-1] <= rig.now()
    rig.silent = False
    wait_until(lambda: rig.keeper.is_held)
    assert rig.record().incarnation == rig.keeper.incarnation == "me.2"
    assert rig.keeper.since_revision == 1, "nobody has ended it"


def test_promises_carry_it_on_and_are_told_to_the_guard(rig: Rig) -> None:
    assert rig.keeper.start(PATIENCE)
    rig.silent = True
    wait_until(lambda: not rig.keeper.is_writable)
    sent = rig.now()
    rig.keeper.promised(sent, 60.0, capped=False)
    assert rig.deadlines()[-1] == rig.keeper.deadline == pytest.approx(sent + 60.0)
    holder = rig.keeper.holder()
    between = (holder.lease_until + holder.deadline) / 2
    assert not holder.is_held(between) and holder.may_run(between)
    rig.silent = False
    wait_until(lambda: rig.keeper.is_writable)
    assert rig.keeper.incarnation == "me.1"


def test_a_shorter_lease_is_told_to_the_guard_before_it_is_sent(rig: Rig) -> None:
    assert rig.keeper.start(PATIENCE)
    rig.terms = QUICK
    wait_until(lambda: any(isinstance(entry, Lease) and entry.duration == 0.3 for entry in rig.log))
    index = next(i for i, entry in enumerate(rig.log) if isinstance(entry, Lease) and entry.duration == 0.3)
    told = rig.log[index - 1]
    assert isinstance(told, float) and told < boottime() + 0.3


def test_what_an_earlier_daemon_has_left_with_the_guard_is_shortened_by_the_first_renewal() -> None:
    rig = Rig(terms=QUICK, over=boottime() + 60.0, mute=True)
    try:
        assert not rig.keeper.start(0.1)
        wait_until(lambda: len(rig.deadlines()) > 0)
        assert rig.deadlines()[0] < boottime() + 0.3 and isinstance(rig.log[1], Lease)
    finally:
        rig.keeper.stop()


def test_a_lost_answer_is_made_good_by_the_next_renewal(rig: Rig) -> None:
    assert rig.keeper.start(PATIENCE)
    rig.mute = True
    sequence = rig.record().sequence
    wait_until(lambda: rig.record().sequence > sequence)
    rig.mute = False
    wait_until(lambda: rig.keeper.is_writable and rig.record().sequence > sequence + 2)
    assert rig.keeper.incarnation == "me.1"


def test_an_ended_lease_is_noticed_and_another_incarnation_begins(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brain, "REST", 600.0)
    assert rig.keeper.start(PATIENCE)
    ended_at = rig.now()
    rig.end()
    wait_until(lambda: rig.keeper.holder().incarnation == "me.2")
    assert not rig.keeper.may_run and ended_at <= rig.deadlines()[-1] <= rig.now()
    rig.ahead += brain.REST
    rig.keeper.joined()  # has it look at the clock
    wait_until(lambda: rig.keeper.is_held)
    assert (rig.record().incarnation, rig.record().ended) == ("me.2", False)


def test_an_evicted_node_lets_its_lease_run_out(rig: Rig) -> None:
    assert rig.keeper.start(PATIENCE)
    rig.is_member = False
    rig.lapse()
    sequence = rig.record().sequence
    rig.is_member = True
    wait_until(lambda: rig.keeper.is_held)
    assert rig.record().sequence > sequence


def test_whatever_breaks_it_goes_on(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.engine.lease.AFTER_A_FAULT", 0.02)
    monkeypatch.setattr("quorate.engine.lease._log", structlog.testing.CapturingLogger())
    assert rig.keeper.start(PATIENCE)
    rig.breaks = True
    rig.lapse()
    rig.breaks = False
    wait_until(lambda: rig.keeper.is_held)
    rig.data.transact((), (Put(KEY, b"not a lease"),))
    rig.lapse()
    rig.data.transact((), (Put(KEY, Lease("other.1", 99, 0.3).encode()),))
    wait_until(lambda: rig.keeper.is_held)
    assert rig.record().sequence > 99


def test_nothing_goes_out_that_the_guard_could_not_be_told_of(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.engine.lease.AFTER_A_FAULT", 0.02)
    monkeypatch.setattr("quorate.engine.lease._log", structlog.testing.CapturingLogger())
    assert rig.keeper.start(PATIENCE)
    refused = threading.Event()

    def refuse(deadline: float) -> None:
        refused.set()
        raise OSError("no guard file")

    monkeypatch.setattr(rig.keeper, "_on_deadline", refuse)
    rig.terms = QUICK
    assert refused.wait(PATIENCE)
    rig.lapse()
    assert rig.record().duration == 60.0


def test_a_lease_is_the_same_in_the_database_and_in_the_brain() -> None:
    lease = Lease("me.1", 4, 5.0, seen=3, resilience=2.0, ended=True, joining=True)
    assert lease_to_database(lease_to_brain(lease)) == lease
