"""Operations on users: certificates for who reaches the cluster from other machines, and the list of everybody."""

from datetime import UTC, datetime
from typing import Final

from quorate.clusapi.addresses import HTTPS
from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import EventKind
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import Values
from quorate.clusapi.status import Status
from quorate.database.accounts import Account
from quorate.database.credentials import UserRecord, user_key
from quorate.database.member_records import write_time
from quorate.database.snapshot import ClusterSnapshot
from quorate.server.call import Call, done

_DAYS: Final = 365
_MOST_DAYS: Final = 3650


async def issue(call: Call) -> Values:
    """Sign a user's request and put the user on the list."""
    from quorate.peers import authority  # only clusters of several machines need what it stands on

    name, role, days = call.inputs.text("name"), call.inputs.text("role"), call.inputs.optional_number("days") or _DAYS
    if not 1 <= days <= _MOST_DAYS:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"days is {days}, outside 1 to {_MOST_DAYS}")
    credentials, cluster = call.services.database.credentials, call.snapshot.cluster
    users, nodes = await credentials.users_authority(), await credentials.nodes_authority()
    signer = authority.Authority(users.certificate.encode(), users.key.encode())
    now = datetime.now(UTC)
    certificate = authority.issue_user(signer, call.inputs.data("request"), name, role, cluster.instance_id, now, days)
    facts = authority.describe(certificate)
    until = write_time(facts.not_after)
    replacing = call.inputs.flag("replace")
    event = call.event(
        EventKind.USER_CERTIFIED,
        name,
        name,
        f'{call.context.actor} certified the user "{name}" with the role {role} until {until}',
        after={"role": role, "serial": facts.serial, "not_after": until},
    )
    record = UserRecord(name, facts.serial, role, facts.not_after)
    await credentials.add_user(record, replacing=replacing, events=(event,))
    return Values(
        {
            "certificate": certificate,
            "authority": nodes.certificate.encode(),
            "cluster": cluster.name,
            "nodes": doors(call.snapshot),
            "not_after": until,
        }
    )


async def list_all(call: Call) -> Values:
    """Every user, by name."""
    now, credentials = datetime.now(UTC), call.services.database.credentials
    users = {user_key(user.name): user for user in await credentials.users()}
    accounts = {user_key(account.name): account for account in await credentials.accounts()}
    both = sorted(users.keys() | accounts.keys())
    return Values({"users": tuple(_described(users.get(key), accounts.get(key), now) for key in both)})


async def remove(call: Call) -> Values:
    """Take a user off the list."""
    name = call.inputs.text("name")
    sentence = f'{call.context.actor} removed the user "{name}": refused from now on'
    event = call.event(EventKind.USER_REMOVED, name, name, sentence)
    await call.services.database.credentials.remove_user(name, events=(event,))
    return done()


def doors(snapshot: ClusterSnapshot) -> tuple[JsonObject, ...]:
    """Where the nodes answer clients of other machines, as ``cluster.json`` lists them."""
    return tuple(
        {"id": node.id, "name": node.name, "http": facts.value.http_address}
        for node in snapshot.nodes.values()
        if (facts := snapshot.facts.get(node.id)) is not None and facts.value.http_address.startswith(HTTPS)
    )


def _described(user: UserRecord | None, account: Account | None, now: datetime) -> JsonObject:
    one = user or account
    assert one is not None
    return {
        "name": one.name,
        "role": one.role,
        "has_certificate": user is not None,
        "serial": "" if user is None else user.serial,
        "not_after": "" if user is None else write_time(user.not_after),
        "expired": user is not None and now > user.not_after,
        "has_password": account is not None,
        "password_changed": "" if account is None else write_time(account.changed),
    }
