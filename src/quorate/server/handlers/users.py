"""Operations on users: certificates for who reaches the cluster from other machines."""

from datetime import UTC, datetime
from typing import Final

from quorate.clusapi.addresses import HTTPS
from quorate.clusapi.errors import CallerError
from quorate.clusapi.events import EventKind
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import Values
from quorate.clusapi.status import Status
from quorate.database.credentials import UserRecord
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
    now = datetime.now(UTC)
    users = await call.services.database.credentials.users()
    return Values({"users": tuple(_described(user, now) for user in users)})


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


def _described(user: UserRecord, now: datetime) -> JsonObject:
    return {
        "name": user.name,
        "role": user.role,
        "serial": user.serial,
        "not_after": write_time(user.not_after),
        "expired": now > user.not_after,
    }
