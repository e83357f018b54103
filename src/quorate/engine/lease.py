"""The node's lease: renewed by a thread of its own, so that nothing that the event loop does can starve it.

The holder counts from the *sending* of the last answered renewal, on CLOCK_BOOTTIME, which goes on while the machine
sleeps (rule R9). A lease that ran out is never continued: the next renewal begins another incarnation, and whatever
was asked, stopped or begun under the earlier one does not count (R2).
"""

import threading
import time
from collections.abc import Callable

import structlog

from quorate.clusapi.identity import NodeId
from quorate.database import keys
from quorate.database.contract import BlockingStore, Compare, Put, StoreUnavailable
from quorate.database.records import Lease

_log = structlog.get_logger("lease")


def now() -> float:
    """Seconds on the clock that leases are counted on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseKeeper:
    """Keeps one node's lease."""

    def __init__(
        self,
        node: NodeId,
        open_store: Callable[[], BlockingStore],
        new_incarnation: Callable[[], str],
        *,
        delay: float,
        duration: float,
    ) -> None:
        """Renew every ``delay`` seconds a lease of ``duration`` seconds; both as the cluster's properties say."""
        self._node = node
        self._open_store = open_store
        self._new_incarnation = new_incarnation
        self._delay = delay
        self._duration = duration
        self._lock = threading.Lock()
        self._deadline = 0.0
        self._incarnation = new_incarnation()
        self._sequence = 0
        self._stop = threading.Event()
        self._held = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self, timeout: float) -> bool:
        """Begin to renew; wait until the lease is held for the first time, at most ``timeout`` seconds."""
        self._thread.start()
        return self._held.wait(timeout)

    def stop(self) -> None:
        """Stop renewing; the lease runs out by itself."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    @property
    def incarnation(self) -> str:
        """The incarnation that is valid at this moment.

        Asking is what notices a lapse first: a daemon that was stopped for a while finds another incarnation here
        before it acts on anything that it heard.
        """
        with self._lock:
            self._notice_lapse()
            return self._incarnation

    @property
    def is_held(self) -> bool:
        """Tell whether the lease is valid at this moment."""
        with self._lock:
            return now() < self._deadline

    def _notice_lapse(self) -> None:
        if self._deadline and now() >= self._deadline:
            self._deadline = 0.0
            self._incarnation = self._new_incarnation()
            _log.warning("the node's lease has run out; it goes on under another incarnation")

    def _run(self) -> None:
        store = self._open_store()
        try:
            while not self._stop.is_set():
                started = now()
                try:
                    self._renew(store)
                except StoreUnavailable as error:
                    _log.warning("the lease could not be renewed", sentence=error.sentence)
                except Exception:  # noqa: BLE001 - the supervisor of the lease: a node that stops renewing is dead to all
                    _log.exception("renewing the lease broke; it is tried again")
                self._stop.wait(max(0.05, self._delay - (now() - started)))
        finally:
            store.close()

    def _renew(self, store: BlockingStore) -> None:
        key = keys.lease(self._node)
        found = store.get(key)
        with self._lock:
            self._notice_lapse()
            incarnation = self._incarnation
            self._sequence = max(self._sequence, Lease.decode(found.value).sequence if found else 0) + 1
            lease = Lease(incarnation, self._sequence, self._duration)
        sent = now()
        outcome = store.transact((Compare(key, found.revision if found else 0),), (Put(key, lease.encode()),))
        if not outcome.succeeded:
            _log.warning("another hand wrote this node's lease", node=self._node)
            return
        with self._lock:
            if self._incarnation == incarnation and now() < sent + self._duration:
                self._deadline = sent + self._duration
                self._held.set()
