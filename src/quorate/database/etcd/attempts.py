"""Which member is asked next, how long, and when to give up: decided here, without input or output.

::

    read   ── asked of the current member; no answer: of the next one, and so on, within ``answer_wait``
    write  ── sent once, to a member that answered a read just before; no answer: nobody knows whether it landed

A write is never repeated because of what gRPC reports, for that proves nothing. Instead it is not sent at all before a
member has answered a harmless read, linearizable like any other, so that the search for a member that is alive and has
its quorum is over when the write leaves; an attempt that found nobody has surely sent nothing and may go on. The one
answer that lets a write go on is a refusal that etcd gives before it looks at the request.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.database.contract import StoreUnavailable
from quorate.database.etcd.failures import EtcdFailure
from quorate.database.etcd.messages import Method
from quorate.database.etcd.settings import Endpoint, EtcdTimings

_PAUSE: Final = 0.1
_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Call:
    """One remote call; a write is sent once at most."""

    method: Method
    request: bytes
    is_write: bool = False
    may_be_compacted: bool = False
    """Reads at an old revision: that it is gone is an answer, of no bytes."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What to do next: wait ``pause`` seconds, then call the endpoint with this deadline."""

    index: int
    call: Call
    wait: float
    pause: float
    began: float


class Rotation:
    """The member that a store talks to at present, and when each has answered last. One per store."""

    def __init__(self, endpoints: Sequence[Endpoint], tell: Callable[[str], None] = lambda sentence: None) -> None:
        """Begin with the first; ``tell`` hears when a member falls silent and when it answers again."""
        self.endpoints = tuple(endpoints)
        self._tell = tell
        self.current = 0
        self._answered = [_NEVER] * len(self.endpoints)
        self.failures: dict[int, EtcdFailure] = {}
        """Why the members that did not answer last did not."""
        self.refusal: EtcdFailure | None = None
        """What etcd refused last, for a reason that every member would give."""
        self.departures = [0] * len(self.endpoints)
        """How often each member was left: a watch on a member that was left goes on elsewhere, or on a new channel."""

    def answered(self, index: int, now: float) -> None:
        """A member has answered a linearizable read, or a write."""
        self._answered[index] = now
        if self.failures.pop(index, None) is not None:
            self._tell(f"etcd's member {self.endpoints[index]} answers again")

    def leave(self, index: int, failure: EtcdFailure) -> None:
        """A member has not answered: talk to the next one, unless somebody else has moved on already."""
        self._answered[index] = _NEVER
        if index not in self.failures:
            self._tell(f"etcd's member {self.endpoints[index]} does not answer: {failure.reason}")
        self.failures[index] = failure
        self.departures[index] += 1
        if self.current == index:
            self.current = (index + 1) % len(self.endpoints)

    def is_fresh(self, index: int, now: float, within: float) -> bool:
        """Tell whether a member has answered lately."""
        return now - self._answered[index] <= within

    def sentence(self) -> str:
        """Why nobody answers, member by member."""
        told: dict[str, list[str]] = {}
        for index, failure in sorted(self.failures.items()):
            reason = failure.reason
            if reason == "Socket closed":
                reason = "it hangs up" + ("" if self.endpoints[index].is_tls else " (is it meant to be https?)")
            told.setdefault(reason, []).append(str(self.endpoints[index]))
        reasons = "; ".join(f"{', '.join(endpoints)}: {reason}" for reason, endpoints in told.items())
        return f"etcd does not answer ({reasons or 'no member was asked yet'})"

    @property
    def is_hopeless(self) -> bool:
        """Tell whether TLS is impossible with every member: then there is nothing to wait for."""
        return len(self.failures) == len(self.endpoints) and all(f.mismatch for f in self.failures.values())

    def explain(self, error: StoreUnavailable) -> FaultError:
        """The error that tells somebody who begins what is wrong, with a status of its own where there is one."""
        if self.refusal is not None and self.refusal.code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            return FaultError(Status.ERROR_ACCESS_DENIED, error.sentence)
        if self.is_hopeless:
            return FaultError(Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT, error.sentence)
        if any(failure.has_no_leader for failure in self.failures.values()):
            return FaultError(Status.ERROR_CLUSTER_NO_QUORUM, error.sentence)
        return error


class Attempts:
    """The attempts of one read or one write."""

    def __init__(self, rotation: Rotation, timings: EtcdTimings, probe: Call, now: float) -> None:
        """``probe`` is the harmless read that comes before a write."""
        self._rotation = rotation
        self._timings = timings
        self._probe = probe
        self._deadline = now + timings.answer_wait
        self._tried = 0
        self._pause = 0.0

    def next(self, call: Call, now: float) -> Attempt:
        """The next attempt. Raises StoreUnavailable when the time is up."""
        rotation, timings = self._rotation, self._timings
        pause, self._pause = self._pause, 0.0
        index = rotation.current
        if call.is_write and rotation.is_fresh(index, now, timings.fresh):
            return Attempt(index, call, timings.write_wait, pause, now)
        left = self._deadline - now - pause
        if left <= 0:
            raise StoreUnavailable(rotation.sentence())
        wait = timings.read_wait * 2 ** (self._tried // len(rotation.endpoints))
        self._tried += 1
        return Attempt(index, self._probe if call.is_write else call, min(wait, left), pause, now)

    def answered(self, attempt: Attempt, now: float) -> None:
        """The member has answered."""
        self._rotation.answered(attempt.index, now)

    def failed(self, attempt: Attempt, failure: EtcdFailure, now: float) -> None:
        """The member has not answered, or refused. Raises StoreUnavailable when that settles the call."""
        endpoint = self._rotation.endpoints[attempt.index]
        if failure.moves_on:
            self._rotation.leave(attempt.index, failure)
        else:
            self._rotation.refusal = failure
        if attempt.call.is_write and not failure.is_void:
            raise StoreUnavailable(
                f"etcd gave no answer to a transaction, which may have landed ({endpoint}: {failure.reason})"
            )
        if self._rotation.is_hopeless:
            raise StoreUnavailable(self._rotation.sentence())
        if not failure.moves_on:
            raise StoreUnavailable(f"etcd refuses a request ({endpoint}: {failure.reason})")
        # A member that is not there says so at once: no hurry in asking all of them again.
        if self._tried % len(self._rotation.endpoints) == 0 and now - attempt.began < _PAUSE:
            self._pause = _PAUSE
