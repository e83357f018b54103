"""A transaction in the making: what must still be true, what is written, and which names are claimed."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import (
    MAX_OPERATIONS,
    MAX_VALUE_LENGTH,
    Compare,
    Delete,
    Outcome,
    Put,
    Record,
    Store,
    Write,
)
from quorate.database.records import NameEntry
from quorate.database.values import KeyRecord, RegistryValue, RegistryValues, check_value_name

T = TypeVar("T")

MAX_NAME: Final = 255
ATTEMPTS: Final = 100
"""How often a transaction is planned anew when others were quicker; far beyond what contention can explain."""

Values: TypeAlias = Mapping[str, RegistryValue]


@dataclass(slots=True)
class Plan:
    """Collects compares and writes. Every method that writes over something also compares what it was planned on."""

    compares: dict[str, int] = field(default_factory=dict)
    writes: dict[str, bytes | None] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)  # key of the name's entry -> what is taken, for people

    def expect(self, record: Record) -> None:
        """Commit only while a record stands as it was read."""
        self.compares[record.key] = record.revision

    def create(self, key: str, value: bytes) -> None:
        """Write a record that must not exist yet."""
        self.compares[key] = 0
        self.writes[key] = value

    def replace(self, record: Record, value: bytes) -> None:
        """Write a record over what was read."""
        self.expect(record)
        self.writes[record.key] = value

    def put(self, key: str, value: bytes) -> None:
        """Write a record, whatever stands there."""
        self.writes[key] = value

    def delete(self, record: Record) -> None:
        """Remove a record that was read."""
        self.expect(record)
        self.writes[record.key] = None

    def remove(self, key: str) -> None:
        """Remove a record, whatever stands there."""
        self.writes[key] = None

    def create_key(self, path: str, values: Values | None = None) -> None:
        """Create a registry key with its values; its name is the path's last one as spelled."""
        for name in values or ():
            check_value_name(name)
        names = keys.split_path(path)
        self.create(
            keys.registry_key(path), KeyRecord(names[-1] if names else "", RegistryValues(values or {})).encode()
        )

    def claim_name(self, kind: str, name: str, id_: str) -> None:
        """Take a name for an object. Raises CallerError ERROR_INVALID_NAME; a taken one shows when committing."""
        check_name(kind, name)
        key = keys.name_index(kind, name)
        self.create(key, NameEntry(id_).encode())
        self.claims[key] = f"the name {name!r} is taken: the cluster has a {kind} of that name"

    async def commit(self, store: Store) -> Outcome:
        """Run the transaction.

        Raises CallerError ERROR_OBJECT_ALREADY_EXISTS when a claimed name is taken, ERROR_INVALID_PARAMETER when a
        record became too big, RefusalError when there is too much to do at once, StoreUnavailable.
        """
        if len(self.writes) > MAX_OPERATIONS or len(self.compares) > MAX_OPERATIONS:
            raise RefusalError(
                Status.ERROR_CLUSTER_MAXNUM_OF_RESOURCES_EXCEEDED,
                f"{len(self.writes)} records would change at once, {MAX_OPERATIONS} may: do it in smaller steps",
            )
        writes: list[Write] = []
        for key, value in self.writes.items():
            if value is not None and len(value) > MAX_VALUE_LENGTH:
                sentence = f"the record {key!r} would have {len(value)} bytes; {MAX_VALUE_LENGTH} fit"
                raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
            writes.append(Delete(key) if value is None else Put(key, value))
        compares = [Compare(key, revision) for key, revision in self.compares.items()]
        outcome = await store.transact(compares, writes)
        if not outcome.succeeded:
            for record in outcome.compared:
                if record is not None and record.key in self.claims:
                    raise CallerError(Status.ERROR_OBJECT_ALREADY_EXISTS, self.claims[record.key])
        return outcome


async def commit_until_done(store: Store, plan: Callable[[], Awaitable[tuple[Plan, T]]]) -> tuple[Outcome, T]:
    """Plan and commit, anew with fresh reads whenever somebody else was quicker."""
    for _ in range(ATTEMPTS):
        planned, result = await plan()
        outcome = await planned.commit(store)
        if outcome.succeeded:
            return outcome, result
    raise RefusalError(Status.ERROR_RETRY, "the cluster database is changing too fast; try again")


def check_name(kind: str, name: str) -> None:
    """Refuse what cannot name an object. Raises CallerError ERROR_INVALID_NAME."""
    if not 1 <= len(name) <= MAX_NAME:
        reason = f"it has {len(name)} characters; 1 to {MAX_NAME} are allowed"
    elif name != name.strip() or not name.isprintable():
        reason = "it begins or ends with a blank, or holds a character that cannot be printed"
    else:
        return
    raise CallerError(Status.ERROR_INVALID_NAME, f"{name[:80]!r} cannot be the name of a {kind}: {reason}")


def check_ids(kind: str, ids: Iterable[str], known: Iterable[str], status: Status) -> None:
    """Refuse ids that the cluster does not know, and repetitions. Raises CallerError."""
    given, exist = list(ids), set(known)
    for id_ in given:
        if id_ not in exist:
            raise CallerError(status, f"the cluster has no {kind} with the id {id_!r}")
    if len(set(given)) != len(given):
        raise CallerError(Status.ERROR_OBJECT_IN_LIST, f"a {kind} is named twice: {', '.join(given)}")
