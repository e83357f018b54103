"""The live migrations that are over, as both ends tell of them: `private/migrations/<session>/left` and `…/arrived`.

Each end writes its own record, once, and neither waits for the other; whoever reads puts them together. Nothing depends
on them. Durations are seconds on the writer's own clock: clocks of two nodes are never compared.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self

from quorate.clusapi.identity import GroupId, SessionId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_float, json_object, json_text
from quorate.database import keys
from quorate.database.contract import Delete, Put, Record, Store
from quorate.database.documents import Document, Fields, damaged, parse_document, write_document

KEPT: Final = 1000
"""Migrations that are kept of one cluster."""
_LEFT, _ARRIVED = "left", "arrived"
_PRUNED_AT_ONCE: Final = 100


class Result(StrEnum):
    """What came of a migration."""

    MOVED = "moved"
    CANCELLED = "cancelled"
    FAILED = "failed"
    """The guest runs on where it was."""
    LOST = "lost"
    """The guest's process ended with it: the virtual machine was started from its disks, or is to be."""
    OVERTAKEN = "overtaken"
    """Another node had taken the virtual machine over before it ended."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A migration, as its source tells of it when it is over. None is what was not measured."""

    group: GroupId
    vm: str
    """The group's name at that time, as are those of the nodes."""
    source: str
    destination: str
    asked_by: str
    ended: datetime
    result: str
    """A word of `Result`, or of a newer version."""
    sentence: str
    mode: str
    transferred: int
    """Bytes."""
    passes: int
    started: datetime | None = None
    seconds: float | None = None
    """From its beginning, after any wait in the queue, until the other node ran the guest, or it was over."""
    stood: float | None = None
    """For how long the guest had stood when it was handed over, or ran again here."""
    policy: str = ""
    """Its name; records of older versions lack it, the limit and the throttle."""
    gap_limit: float | None = None
    """Seconds that the policy, or the virtual machine, had allowed the guest to stand."""
    throttle: int = 0
    """Percent of their time for which the guest's processors were held back at last."""
    rate: int = 0
    """Bytes per second that got across at last; 0: not measured. Records of older versions lack it."""
    forecast: JsonObject | None = None
    """What had been foretold (`engine/foresight.py`), or with the key "absent" why nothing was."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "group": self.group,
            "vm": self.vm,
            "source": self.source,
            "destination": self.destination,
            "asked_by": self.asked_by,
            "started": None if self.started is None else write_moment(self.started),
            "ended": write_moment(self.ended),
            "seconds": self.seconds,
            "stood": self.stood,
            "bytes": self.transferred,
            "policy": self.policy,
            "gap_limit": self.gap_limit,
            "throttle": self.throttle,
            "rate": self.rate,
            "passes": self.passes,
            "mode": self.mode,
            "result": self.result,
            "sentence": self.sentence,
            "forecast": self.forecast,
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields(_A_MOVE, {"rate": 0, "policy": "", "throttle": 0, **parse_document(data, cls.VERSION, _A_MOVE)})
        started = fields.optional("started", str)
        return cls(
            group=GroupId(fields.text("group")),
            vm=fields.text("vm"),
            source=fields.text("source"),
            destination=fields.text("destination"),
            asked_by=fields.text("asked_by"),
            started=None if started is None else _moment(started),
            ended=_moment(fields.text("ended")),
            seconds=fields.optional_duration("seconds"),
            stood=fields.optional_duration("stood"),
            transferred=fields.number("bytes"),
            policy=fields.text("policy"),
            gap_limit=fields.optional_duration("gap_limit"),
            throttle=fields.number("throttle"),
            rate=fields.number("rate"),
            passes=fields.number("passes"),
            mode=fields.text("mode"),
            result=fields.text("result"),
            sentence=fields.text("sentence"),
            forecast=fields.optional_object("forecast"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class Arrival:
    """A migration, as its destination tells of it once the guest runs there."""

    group: GroupId
    vm: str
    source: str
    destination: str
    ended: datetime
    stood: float | None = None
    """For how long the guest still stood after the hand-over was heard of; None: it was taken without a word."""
    alive: float | None = None
    """Seconds after `cont` at which its vCPUs were seen to get on; None: not within the time that one looked."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "group": self.group,
            "vm": self.vm,
            "source": self.source,
            "destination": self.destination,
            "ended": write_moment(self.ended),
            "stood": self.stood,
            "alive": self.alive,
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields(_A_MOVE, {"alive": None, **parse_document(data, cls.VERSION, _A_MOVE)})
        return cls(
            group=GroupId(fields.text("group")),
            vm=fields.text("vm"),
            source=fields.text("source"),
            destination=fields.text("destination"),
            ended=_moment(fields.text("ended")),
            stood=fields.optional_duration("stood"),
            alive=fields.optional_duration("alive"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class PastMigration:
    """A migration that is over, by what its ends have told; at least one of them has."""

    session: SessionId
    sequence: int
    """The revision of the first record: later migrations have greater ones."""
    left: Departure | None
    arrived: Arrival | None

    @property
    def group(self) -> GroupId:
        """Of which virtual machine."""
        return self._one.group

    @property
    def vm(self) -> str:
        """Its name then."""
        return self._one.vm

    @property
    def ended(self) -> datetime:
        """When it was over."""
        return self._one.ended

    @property
    def _one(self) -> Departure | Arrival:
        found = self.left if self.left is not None else self.arrived
        assert found is not None, "somebody has told of it"
        return found

    @property
    def result(self) -> str:
        """What came of it: a guest that runs at the destination has been moved, whatever the source knew."""
        return Result.MOVED.value if self.left is None or self.arrived is not None else self.left.result

    @property
    def gap(self) -> float | None:
        """For how many seconds the guest stood still, from `stop` to `cont`; None where one end has not measured it."""
        if self.left is None or self.left.stood is None:
            return None
        if self.result != Result.MOVED:
            return self.left.stood
        return None if self.arrived is None or self.arrived.stood is None else self.left.stood + self.arrived.stood

    def _off_by(self) -> JsonObject | None:
        """By how much the outcome was not what had been foretold; None where the two cannot be compared."""
        left = self.left
        if left is None or left.forecast is None or "absent" in left.forecast:
            return None
        foretold_end = json_text(left.forecast, "verdict") != "will not converge"
        off: dict[str, JsonValue] = {"verdict": foretold_end == (self.result == Result.MOVED)}
        if not foretold_end or self.result != Result.MOVED:
            return off
        seconds = json_float(json_object(left.forecast, "seconds"), "likely")
        if left.seconds and seconds:
            off["seconds_percent"] = round(100 * (seconds / left.seconds - 1), 1)
        if self.gap is not None:
            foretold = json_float(json_object(left.forecast, "gap_ms"), "likely")
            off["gap_ms"] = round(foretold - self.gap * 1000, 1)
        return off

    def to_json(self) -> dict[str, JsonValue]:
        """Write it as every face shows it."""
        one, left, gap = self._one, self.left, self.gap
        return {
            "session": self.session,
            "group": one.group,
            "vm": one.vm,
            "source": one.source,
            "destination": one.destination,
            "asked_by": "" if left is None else left.asked_by,
            "started": None if left is None or left.started is None else write_moment(left.started),
            "ended": write_moment(one.ended),
            "seconds": None if left is None or left.seconds is None else round(left.seconds, 3),
            "gap_ms": None if gap is None else round(gap * 1000, 1),
            "bytes": None if left is None else str(left.transferred),
            "passes": None if left is None else left.passes,
            "mode": "" if left is None else left.mode,
            "result": self.result,
            "sentence": "the source's daemon did not see its end" if left is None else left.sentence,
            "policy": "" if left is None else left.policy,
            "gap_limit_ms": None if left is None or left.gap_limit is None else round(left.gap_limit * 1000, 1),
            "throttle": 0 if left is None else left.throttle,
            "rate": None if left is None or not left.rate else left.rate,
            "alive_after": None if self.arrived is None or self.arrived.alive is None else round(self.arrived.alive, 3),
            "forecast": None if left is None else left.forecast,
            "off_by": self._off_by(),
            "sequence": str(self.sequence),
        }


class MigrationHistory:
    """Reads, writes and forgets them."""

    def __init__(self, store: Store) -> None:
        """Work on this store."""
        self._store = store

    async def add_departure(self, session: SessionId, departure: Departure) -> None:
        """Write what the source tells."""
        await self._store.transact([], [Put(keys.migration(session, _LEFT), departure.encode())])

    async def add_arrival(self, session: SessionId, arrival: Arrival) -> None:
        """Write what the destination tells."""
        await self._store.transact([], [Put(keys.migration(session, _ARRIVED), arrival.encode())])

    async def select(
        self,
        *,
        after: int | None = None,
        since: datetime | None = None,
        limit: int | None = None,
        fits: Callable[[PastMigration], bool] = lambda migration: True,
    ) -> tuple[PastMigration, ...]:
        """Give migrations, oldest first: the newest that fit; the oldest with ``after`` (a sequence) or ``since``."""
        found = [
            migration
            for migration in await self._all()
            if migration.sequence > (after or 0) and (since is None or migration.ended >= since) and fits(migration)
        ]
        if limit is None:
            return tuple(found)
        oldest_first = after is not None or since is not None
        return tuple(found[:limit] if oldest_first else found[max(0, len(found) - limit) :])

    async def prune(self, before: datetime, keep: int = KEPT) -> int:
        """Forget those that ended before a moment, and of the others all but the newest ``keep``; how many went."""
        found = await self._all()
        old = [
            migration for index, migration in enumerate(found) if migration.ended < before or index < len(found) - keep
        ]
        gone = [keys.migration(migration.session, side) for migration in old for side in (_LEFT, _ARRIVED)]
        for start in range(0, len(gone), _PRUNED_AT_ONCE):
            await self._store.transact([], [Delete(key) for key in gone[start : start + _PRUNED_AT_ONCE]])
        return len(old)

    async def _all(self) -> list[PastMigration]:
        sides: dict[SessionId, dict[str, Record]] = {}
        for record in (await self._store.range(keys.MIGRATIONS)).records:
            session, _, side = record.key.removeprefix(keys.MIGRATIONS).partition("/")
            sides.setdefault(SessionId(session), {})[side] = record
        return sorted((_together(*item) for item in sides.items()), key=lambda migration: migration.sequence)


def _together(session: SessionId, sides: Mapping[str, Record]) -> PastMigration:
    left, arrived = sides.get(_LEFT), sides.get(_ARRIVED)
    return PastMigration(
        session=session,
        sequence=min(record.revision for record in sides.values()),
        left=None if left is None else Departure.decode(left.value),
        arrived=None if arrived is None else Arrival.decode(arrived.value),
    )


def write_moment(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_A_MOVE: Final = "a migration that is over"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise damaged(_A_MOVE, str(error)) from error
    if moment.tzinfo is None:
        raise damaged(_A_MOVE, f"{text!r} is no moment in UTC")
    return moment
