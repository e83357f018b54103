"""Who may sign and who may enter: the authorities' keys (member_records.py) and the list of users.

Both lie in the private namespace: no registry, property or HTTP call reads them. A user is known by the serial number
of the one certificate that counts, by a password (accounts.py), or by both, then with the same role; who is taken off
the list is refused from then on, whatever the certificate says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Self

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.accounts import Account
from quorate.database.contract import Store
from quorate.database.documents import Document, Fields, damaged, parse_document, write_document
from quorate.database.events import EventLog
from quorate.database.member_records import AuthorityRecord, write_time
from quorate.database.plan import Plan, check_name, commit_until_done
from quorate.database.records import Versioned

WARN_BEFORE: Final = timedelta(days=14)
"""A user's certificate that is not good for so long any more is told of."""


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user of the clients' door over TLS."""

    name: str
    serial: str
    """Of the only certificate that is accepted, in hexadecimal as :mod:`ssl` writes it."""
    role: str
    """"full" or "read"."""
    not_after: datetime
    warned: bool = False
    """An event has told that the certificate will expire soon."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "name": self.name,
            "serial": self.serial,
            "role": self.role,
            "not_after": write_time(self.not_after),
            "warned": self.warned,
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        what = "a user's record"
        fields = Fields(what, parse_document(data, cls.VERSION, what))
        until = fields.text("not_after")
        try:
            not_after = datetime.fromisoformat(until)
        except ValueError as error:
            raise damaged(what, f"not_after is {until!r}, no time") from error
        return cls(
            name=fields.text("name"),
            serial=fields.text("serial"),
            role=fields.text("role"),
            not_after=not_after,
            warned=fields.flag("warned"),
            extra=fields.rest(),
        )


class Credentials:
    """Reading and changing them. Every change is one transaction, with the events that tell of it."""

    def __init__(self, store: Store, log: EventLog) -> None:
        """Work on this store."""
        self._store = store
        self._log = log

    async def nodes_authority(self) -> AuthorityRecord:
        """Who certifies nodes. Raises RefusalError 5059 when the cluster has no authorities."""
        return await self._authority(keys.NODES_AUTHORITY)

    async def users_authority(self) -> AuthorityRecord:
        """Who certifies users. Raises RefusalError 5059 when the cluster has no authorities."""
        return await self._authority(keys.USERS_AUTHORITY)

    async def users(self) -> tuple[UserRecord, ...]:
        """Every user, by name."""
        records = (await self._store.range(keys.USERS)).records
        return tuple(sorted((UserRecord.decode(record.value) for record in records), key=lambda user: user.name))

    async def add_user(self, user: UserRecord, *, replacing: bool = False, events: Sequence[EventRecord] = ()) -> None:
        """Put a user on the list; ``replacing`` the certificate of one who is on it, whose old one then counts no more.

        Raises CallerError 5010 when the user is on the list already, 123 for what cannot be a name, 87 for another role
        than the user has with a password.
        """
        check_name("user", user.name)

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            account = await self._store.get(keys.account(user.name))
            _check_role(user.name, user.role, None if account is None else Account.decode(account.value).role)
            planned.compares[keys.account(user.name)] = 0 if account is None else account.revision
            there = await self._store.get(keys.user(user.name))
            if there is None:
                planned.create(keys.user(user.name), user.encode())
            elif replacing:
                planned.replace(there, user.encode())
            else:
                raise CallerError(
                    Status.ERROR_OBJECT_ALREADY_EXISTS,
                    f'there is a user "{user.name}" already; --replace gives a new certificate and revokes the old one',
                )
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def remove_user(self, name: str, *, events: Sequence[EventRecord] = ()) -> None:
        """Take a user off the list: refused from now on. Raises CallerError 1168 for one who is not on it."""

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            found = [await self._store.get(key) for key in (keys.user(name), keys.account(name))]
            if not any(found):
                raise _no_user(name)
            for record in found:
                if record is not None:
                    planned.delete(record)
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    # --- Passwords ---------------------------------------------------------------------------------------------------

    async def accounts(self) -> tuple[Account, ...]:
        """Every user who has a password, by name."""
        records = (await self._store.range(keys.ACCOUNTS)).records
        return tuple(sorted((Account.decode(record.value) for record in records), key=lambda account: account.name))

    async def add_account(self, account: Account, *, events: Sequence[EventRecord] = ()) -> None:
        """Give a user a password.

        Raises CallerError 5010 when the user has one, 123 for what cannot be a name, 87 for another role than the user
        has with a certificate.
        """
        check_name("user", account.name)

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            user = await self._store.get(keys.user(account.name))
            _check_role(account.name, account.role, None if user is None else UserRecord.decode(user.value).role)
            planned.compares[keys.user(account.name)] = 0 if user is None else user.revision
            if await self._store.get(keys.account(account.name)) is not None:
                raise CallerError(
                    Status.ERROR_OBJECT_ALREADY_EXISTS,
                    f'the user "{account.name}" has a password already; "quorate user passwd" sets another',
                )
            planned.create(keys.account(account.name), account.encode())
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def set_password(
        self, name: str, nt_hash: bytes, changed: datetime, *, events: Sequence[EventRecord] = ()
    ) -> None:
        """Give a user who has a password another one. Raises CallerError 1168 for who has none."""

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            record = await self._store.get(keys.account(name))
            if record is None:
                raise CallerError(
                    Status.ERROR_NOT_FOUND,
                    f'there is no user "{name}" with a password; "quorate user add {name} --role ROLE" gives one',
                )
            account = replace(Account.decode(record.value), nt_hash=nt_hash, changed=changed)
            planned.replace(record, account.encode())
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def note_warned(self, user: Versioned[UserRecord], event: EventRecord) -> bool:
        """Note that an event told of a certificate's end, and write it; False when somebody else was quicker."""
        plan = Plan()
        plan.compares[keys.user(user.value.name)] = user.revision
        plan.put(keys.user(user.value.name), replace(user.value, warned=True).encode())
        self._log.add(plan, (event,))
        return (await plan.commit(self._store)).succeeded

    async def _authority(self, key: str) -> AuthorityRecord:
        record = await self._store.get(key)
        if record is None:
            raise RefusalError(
                Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT,
                "this cluster has no certificate authorities: it lives on one machine, where its nodes' sockets are "
                'its doors; "quorate cluster create" makes a cluster for several machines',
            )
        return AuthorityRecord.decode(record.value)


def _no_user(name: str) -> CallerError:
    return CallerError(Status.ERROR_NOT_FOUND, f'there is no user "{name}"')


def _check_role(name: str, role: str, other: str | None) -> None:
    if other not in (None, role):
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f'the user "{name}" has the role {other} already, with another credential: give {role} to another name, or '
            "remove the user first",
        )


def expires_soon(user: UserRecord, now: datetime) -> bool:
    """Tell whether a user's certificate has expired, or will before long."""
    return user.not_after - now < WARN_BEFORE


Users = Callable[[], Mapping[str, Versioned[UserRecord]]]
"""Tells the users as they are now, by :func:`user_key` of their names."""


def user_key(name: str) -> str:
    """What a user's name is looked up by: the same for spellings that differ only in case."""
    return keys.fold(name)
