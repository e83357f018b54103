"""Who asked for what from other machines, and what came of it: events of the kinds ``audit.…``.

::

    logon     granted or refused        at once; the same again within a minute is counted and told at its end
    refusal   a call that was refused   likewise
    change    a call that changes       each one
    reads     all other calls           counted by user, source and operation, told every five minutes

Beside the event that tells what a change changed, this one tells where it came from, and there is one too when it came
to nothing. Nobody waits for the audit: events go to the database once a second, and what does not get there, because
the database is silent or there is too much of it, is in the node's log and told as a number.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status

WRITE_EVERY: Final = 1.0
"""Seconds between two transactions with audit events."""
LAST_WORDS: Final = 3.0
"""Seconds that a node which stops gives the database to take the rest."""
REPEATED_WITHIN: Final = timedelta(minutes=1)
READS_EVERY: Final = timedelta(minutes=5)
MOST_WAITING: Final = 1000
"""Events that wait for the database, and lines that are counted; beyond, they are told as a number."""
_MOST_AT_ONCE: Final = 100
_LONGEST_TEXT: Final = 80

_log = structlog.get_logger("audit")


@dataclass(frozen=True, slots=True)
class AuditedCall:
    """One call that was answered."""

    user: str
    source: str
    """The client's address."""
    operation: str
    about: str
    """The name of the object; empty when it is the cluster, or none."""
    status: int
    changes: bool
    """It is one of those that need full access."""


@dataclass(frozen=True, slots=True)
class AuditedLogon:
    """One logon, granted or refused."""

    user: str
    """As the client says it; empty when it did not come to that."""
    source: str
    is_granted: bool
    sentence: str
    """Why not."""


@dataclass(frozen=True, slots=True)
class _Line:
    """What an event says, but for when and how often."""

    kind: EventKind
    user: str
    source: str
    operation: str
    about: str
    status: int
    words: str


@dataclass(slots=True)
class _Repeated:
    since: datetime
    more: int = 0


@dataclass(slots=True)
class _Reads:
    since: datetime
    counts: Counter[str] = field(default_factory=Counter)


class AuditBook:
    """What is to be written and when. Pure: whoever notes says what time it is."""

    def __init__(self, node: NodeId) -> None:
        """Keep the book of one node."""
        self._node = node
        self._waiting: list[EventRecord] = []
        self._repeated: dict[_Line, _Repeated] = {}
        self._reads: dict[tuple[str, str], _Reads] = {}
        self.lost = 0
        """Events that there was no room for."""

    def note_call(self, call: AuditedCall, now: datetime) -> None:
        """Note a call that was answered."""
        user, about = _shortened(call.user), _shortened(call.about)
        what = call.operation if not about else f'{call.operation} of "{about}"'
        status = Status(call.status)
        if status == Status.ERROR_ACCESS_DENIED:
            words = f"{user} at {call.source} was refused {what}: it needs full access"
            self._tell_once(self._line(EventKind.AUDIT_REFUSED, call, words), now)
        elif not call.changes:
            self._count_read(call, now)
        elif status in (Status.ERROR_SUCCESS, Status.ERROR_IO_PENDING):
            words = f"{user} at {call.source} asked for {what}: {'done' if not status else 'under way'}"
            self._tell(self._line(EventKind.AUDIT_CHANGE, call, words), now)
        else:
            words = f"{user} at {call.source} asked for {what}: not done, status {int(status)} {status.name}"
            self._tell_once(self._line(EventKind.AUDIT_CHANGE, call, words), now)

    def note_logon(self, logon: AuditedLogon, now: datetime) -> None:
        """Note a logon."""
        user = _shortened(logon.user)
        if logon.is_granted:
            line = _Line(EventKind.AUDIT_LOGON, user, logon.source, "", "", 0, f"{user} logged on at {logon.source}")
        else:
            who = f'"{user}"' if user else "somebody"
            words = f"{who} at {logon.source} was not let in: {logon.sentence}"
            status = int(Status.ERROR_LOGON_FAILURE)
            line = _Line(EventKind.AUDIT_REFUSED, user, logon.source, "", "", status, words)
        self._tell_once(line, now)

    def due(self, now: datetime, *, everything: bool = False) -> tuple[EventRecord, ...]:
        """Take what is to be written now; ``everything`` that was noted, when there is no later."""
        for line, repeated in tuple(self._repeated.items()):
            if everything or now - repeated.since >= REPEATED_WITHIN:
                del self._repeated[line]
                if repeated.more:
                    self._tell(line, now, repeated.more)
        for (user, source), reads in tuple(self._reads.items()):
            if everything or now - reads.since >= READS_EVERY:
                del self._reads[user, source]
                self._tell_reads(user, source, reads.counts, now)
        events = tuple(self._waiting[: None if everything else _MOST_AT_ONCE])
        del self._waiting[: len(events)]
        return events

    def put_back(self, events: Sequence[EventRecord]) -> None:
        """Take events again that could not be written."""
        room = max(0, MOST_WAITING - len(self._waiting))
        self.lost += max(0, len(events) - room)
        self._waiting[:0] = events[:room]

    def _line(self, kind: EventKind, call: AuditedCall, words: str) -> _Line:
        return _Line(
            kind, _shortened(call.user), call.source, call.operation, _shortened(call.about), call.status, words
        )

    def _tell_once(self, line: _Line, now: datetime) -> None:
        repeated = self._repeated.get(line)
        if repeated is not None:
            repeated.more += 1
        elif len(self._repeated) < MOST_WAITING:
            self._repeated[line] = _Repeated(now)
            self._tell(line, now)
        else:
            self.lost += 1

    def _count_read(self, call: AuditedCall, now: datetime) -> None:
        key = (_shortened(call.user), call.source)
        if key not in self._reads and len(self._reads) >= MOST_WAITING:
            self.lost += 1
            return
        self._reads.setdefault(key, _Reads(now)).counts[call.operation] += 1

    def _tell_reads(self, user: str, source: str, counts: Counter[str], now: datetime) -> None:
        total = counts.total()
        words = f"{user} at {source} asked {_times(total)} without changing anything"
        reads: JsonObject = dict(counts.most_common())
        line = _Line(EventKind.AUDIT_READS, user, source, "", "", 0, words)
        self._append(line, words, now, {"source": source, "count": total, "operations": reads})

    def _tell(self, line: _Line, now: datetime, more: int = 0) -> None:
        words = line.words if not more else f"{line.words}; {_times(more)} more in a minute"
        facts: JsonObject = {
            "source": line.source,
            "operation": line.operation,
            "status": line.status,
            "count": more or 1,
        }
        self._append(line, words, now, facts)

    def _append(self, line: _Line, words: str, now: datetime, facts: JsonObject) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            return
        self._waiting.append(
            EventRecord.of(
                line.kind,
                time=now,
                node=self._node,
                object_id=line.about or line.user,
                object_name=line.about or line.user,
                sentence=words,
                after=facts,
                actor=line.user,
            )
        )


class Audit:
    """Keeps one node's book and writes it."""

    def __init__(
        self,
        node: NodeId,
        write: Callable[[Sequence[EventRecord]], Awaitable[object]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``write`` writes events to the database; it may raise ClusterError."""
        self._book = AuditBook(node)
        self._write = write
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._told_lost = 0

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._keep(), name="audit")

    async def close(self) -> None:
        """Write the rest, unless the database is silent, and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._write_due(everything=True)
        except TimeoutError:
            _log.warning("the last audit events were not written: the database does not answer")

    def note(self, call: AuditedCall) -> None:
        """Note a call that was answered. Nothing is awaited."""
        if call.changes or call.status == Status.ERROR_ACCESS_DENIED:
            _log.info(
                "call",
                user=call.user,
                source=call.source,
                operation=call.operation,
                about=call.about,
                status=int(call.status),
            )
        self._book.note_call(call, self._clock())

    def note_logon(self, logon: AuditedLogon) -> None:
        """Note a logon. Nothing is awaited."""
        granted = logon.is_granted
        _log.info("logon", user=logon.user, source=logon.source, granted=granted, sentence=logon.sentence)
        self._book.note_logon(logon, self._clock())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY)
            await self._write_due()

    async def _write_due(self, *, everything: bool = False) -> None:
        events = self._book.due(self._clock(), everything=everything)
        if events:
            try:
                await self._write(events)
            except ClusterError as error:
                _log.warning("audit events could not be written; tried again", sentence=error.sentence)
                self._book.put_back(events)
        if self._book.lost > self._told_lost:
            _log.warning("audit events were lost: there are too many", lost=self._book.lost)
            self._told_lost = self._book.lost


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _shortened(text: str) -> str:
    """A client's word, in a length and with characters that do no harm."""
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= _LONGEST_TEXT else f"{clean[:_LONGEST_TEXT]}…"
