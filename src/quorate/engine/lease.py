"""The hands of the node's lease: a thread of its own, so that nothing that the event loop does can starve it.

Everything is decided by `cluster/lease.py`; the thread carries out what it says, one call to the store at a time. Any
thread may ask how things stand. What lets the node go on without the database comes from the loop (`promises.py`):
where that hangs, nobody is asked, the deadline passes, and the guard acts.
"""

import threading
from collections.abc import Callable
from typing import Final

import structlog

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import NodeId
from quorate.cluster import lease_events as e
from quorate.cluster.lease import Holder, Phase
from quorate.cluster.lease_events import LeaseRecord, Terms
from quorate.database import keys
from quorate.database.contract import BlockingStore, Compare, Put, Record, StoreUnavailable
from quorate.database.records import Lease
from quorate.engine.guard_file import boottime

AFTER_A_FAULT: Final = 0.5
"""Seconds of rest when something broke that should not."""

_log = structlog.get_logger("lease")


def lease_to_brain(lease: Lease) -> LeaseRecord:
    """Give a brain a lease as the database has it."""
    return LeaseRecord(
        incarnation=lease.incarnation,
        sequence=lease.sequence,
        duration=lease.duration,
        seen=lease.seen,
        resilience=lease.resilience,
        ended=lease.ended,
        joining=lease.joining,
    )


def lease_to_database(record: LeaseRecord) -> Lease:
    """Give the database a lease as a brain has it."""
    return Lease(
        incarnation=record.incarnation,
        sequence=record.sequence,
        duration=record.duration,
        seen=record.seen,
        resilience=record.resilience,
        ended=record.ended,
        joining=record.joining,
    )


class LeaseKeeper:
    """Keeps one node's lease."""

    def __init__(
        self,
        node: NodeId,
        open_store: Callable[[], BlockingStore],
        base: str,
        *,
        terms: Callable[[], Terms],
        seen: Callable[[], int],
        is_member: Callable[[], bool] = lambda: True,
        on_deadline: Callable[[float], None] = lambda deadline: None,
        over: float = 0.0,
    ) -> None:
        """Renew as ``terms`` says at each renewal; ``base`` is an id that no other daemon ever has.

        ``seen`` gives the revision of this node's newest view: of that view, and no newer one, its promises are asked.
        ``is_member`` tells whether that view has the node in the cluster. ``on_deadline`` is called with each new
        deadline of I2 (CLOCK_BOOTTIME), for the guard, before anything goes out that depends on it; by the lease's
        thread or the loop's, one call at a time and in their order, and must neither block nor ask the keeper anything.
        ``over`` is the deadline that an earlier daemon has left with the guard, 0 if none.

        All of them but ``on_deadline`` are called by the lease's thread alone.
        """
        self._node = node
        self._open_store = open_store
        self._terms = terms
        self._seen = seen
        self._is_member = is_member
        self._on_deadline = on_deadline
        self._lock = threading.Lock()
        self._holder = Holder(base, over=over)
        self._told = over
        self._joining = True
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._held = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self, timeout: float) -> bool:
        """Begin to renew; wait until the lease is held for the first time, at most ``timeout`` seconds."""
        self._thread.start()
        return self._held.wait(timeout)

    def joined(self) -> None:
        """Say from now on that this node is up: it has recovered what it had, and its doors are open."""
        self._joining = False
        self._wake.set()

    def stop(self) -> None:
        """Stop renewing; the lease runs out by itself."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=5.0)

    # --- how things stand --------------------------------------------------------------------------------------------

    def holder(self) -> Holder:
        """How things stand at this moment; ask what it says of `boottime()`.

        Asking is what notices a lapse first: a daemon that was stopped for a while finds another incarnation here
        before it acts on anything that it heard.
        """
        with self._lock:
            return self._noticed()

    @property
    def incarnation(self) -> str:
        """Under what something begins at this moment; it lasts as long as the lease, or promises, carry it on."""
        return self.holder().begins_under

    @property
    def is_held(self) -> bool:
        """Tell whether the lease itself holds: what the start of anything new needs, and the end of another's lease."""
        return self.holder().is_held(boottime())

    @property
    def may_run(self) -> bool:
        """Tell whether what runs here, or stands for a moment, may go on: by the lease, or by promises (I2)."""
        return self.holder().may_run(boottime())

    @property
    def is_joining(self) -> bool:
        """Tell whether the node is still on its way in."""
        return self._joining

    @property
    def is_writable(self) -> bool:
        """Tell whether the database has answered this node lately."""
        return self.holder().is_writable(boottime())

    @property
    def deadline(self) -> float:
        """Until when what runs here may run, by the lease or by promises; 0: nothing was ever known."""
        return self.holder().deadline

    @property
    def since_revision(self) -> int:
        """The revision of the first answered renewal of this incarnation; 0: none was answered yet."""
        return self.holder().since_revision

    def _noticed(self) -> Holder:
        before = self._holder
        self._holder = before.noticed(boottime())
        if self._holder is not before:
            _log.warning("the node's lease has run out; it goes on as another incarnation", node=self._node)
        return self._holder

    # --- promises ----------------------------------------------------------------------------------------------------

    def promised(self, sent: float, period: float, *, capped: bool) -> None:
        """Go on by promises for ``period`` seconds from ``sent`` (CLOCK_BOOTTIME): every node that was asked promised.

        ``capped``: not every configured node is among them.
        """
        self._post(e.Promised(sent, period, capped))

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        store = self._open_store()
        todo: object = e.Pause(0.0)
        try:
            while not self._stop.is_set():
                try:
                    todo = self._post(self._carry_out(store, todo))
                except Exception:  # noqa: BLE001 - the supervisor of the lease: a node that stops renewing is dead to all
                    _log.exception("keeping the lease broke; it is tried again", node=self._node)
                    self._stop.wait(AFTER_A_FAULT)
                    todo = None
        finally:
            store.close()

    def _carry_out(self, store: BlockingStore, todo: object) -> e.Event:
        match todo:
            case e.Pause(seconds):
                self._wake.wait(seconds)
                self._wake.clear()
                return self._due()
            case e.Read():
                return self._read(store)
            case e.Send(record, expected):
                return self._send(store, record, expected)
            case None if self._holder.phase in (Phase.READING, Phase.RENEWING):
                return e.Unanswered()  # whatever broke, it is not known how far this had come
            case None:
                return self._due()
            case _:
                raise AssertionError(f"the lease's brain asks for {todo!r}, which has no hand")

    def _due(self) -> e.Due:
        """Look at the view before the clock is read: what a renewal says of it must be true when it is sent."""
        return e.Due(self._terms(), self._seen(), self._joining, self._is_member())

    def _read(self, store: BlockingStore) -> e.Event:
        try:
            return e.Found(*_decoded(store.get(keys.lease(self._node))))
        except FaultError as error:
            _log.warning("the node's lease could not be read", sentence=error.sentence)
            return e.Unanswered()

    def _send(self, store: BlockingStore, record: LeaseRecord, expected: int) -> e.Event:
        key = keys.lease(self._node)
        try:
            write = Put(key, lease_to_database(record).encode())
            # A node that was evicted has no lease, whatever its view still shows: nobody would ever end that one.
            outcome = store.transact((Compare(key, expected), Compare(keys.evicted(self._node), 0)), (write,))
        except StoreUnavailable as error:
            _log.warning("the lease could not be renewed", sentence=error.sentence)
            return e.Unanswered()
        if outcome.succeeded:
            return e.Answered(outcome.revision)
        return e.Refused(*_decoded(outcome.compared[0]))

    def _post(self, event: e.Event) -> object:
        """Have the brain take in an event; carry out what needs no store. Answers what is to be done next."""
        todo: object = None
        with self._lock:
            step = self._holder.step(event, boottime())
            self._holder = step.state
            if self._holder.deadline != self._told:  # `KeepUntil`, or one that could not be told before
                self._on_deadline(self._holder.deadline)
                self._told = self._holder.deadline
            if self._holder.is_held(boottime()):
                self._held.set()
        for effect in step.effects:
            match effect:
                case e.KeepUntil():
                    pass  # done: nothing else may go before it
                case e.Say(sentence):
                    _log.warning(sentence, node=self._node)
                case _:
                    todo = effect
        return todo


def _decoded(record: Record | None) -> tuple[LeaseRecord | None, int]:
    return (None, 0) if record is None else (lease_to_brain(Lease.decode(record.value)), record.revision)
