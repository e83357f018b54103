"""Operations on the membership: tokens to join with, eviction, the functional level, the cluster's name."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from quorate.clusapi.addresses import TCP
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import NodeState
from quorate.clusapi.status import Status
from quorate.database.member_records import JoinToken, hash_secret, write_time
from quorate.database.plan import check_name
from quorate.database.snapshot import ClusterSnapshot
from quorate.peers.join_token import JoinWord
from quorate.server.call import Call, done

DEFAULT_LIFETIME: Final = 3600
LONGEST_LIFETIME: Final = 7 * 24 * 3600
SHORTEST_LIFETIME: Final = 60
_MOST_ADDRESSES: Final = 3
"""More nodes than these need not stand in a token: one answers, or the cluster has other troubles."""


async def set_cluster_name(call: Call) -> Values:
    """Rename the cluster. ClusAPI's answer is 5024, as if a network name had to go online again."""
    name, cluster = call.inputs.text("name"), call.snapshot.cluster
    check_name("cluster", name)
    if name != cluster.name:
        sentence = f"the cluster {cluster.name} is called {name} now"
        event = call.event(
            EventKind.CLUSTER_PROPERTY, cluster.instance_id, name, sentence, {"name": name}, {"name": cluster.name}
        )
        await call.services.database.rename_cluster(name, events=(event,))
    return done(Status.ERROR_RESOURCE_PROPERTIES_STORED)


async def create_token(call: Call) -> Values:
    """Make a token; its secret leaves with this answer and is kept nowhere."""
    from quorate.peers.authority import fingerprint

    lifetime = call.inputs.optional_number("lifetime")
    lifetime = DEFAULT_LIFETIME if lifetime is None else lifetime
    if not SHORTEST_LIFETIME <= lifetime <= LONGEST_LIFETIME:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f"lifetime: {lifetime} s is not between {SHORTEST_LIFETIME} s and {LONGEST_LIFETIME} s (a week)",
        )
    database, now = call.services.database, datetime.now(UTC)
    authority = await database.credentials.nodes_authority()
    id_, secret, expires = secrets.token_hex(8), secrets.token_urlsafe(32), now + timedelta(seconds=lifetime)
    word = JoinWord(
        cluster=call.snapshot.cluster.name,
        addresses=_addresses(call),
        fingerprint=fingerprint(authority.certificate.encode()),
        id=id_,
        secret=secret,
    )
    event = call.event(
        EventKind.NODE_INVITED,
        call.snapshot.cluster.instance_id,
        call.snapshot.cluster.name,
        f"{call.context.actor} made the token {id_}, with which one machine may join until {write_time(expires)}",
    )
    token = JoinToken(hash_secret(secret), expires, call.context.actor)
    await database.members.add_token(id_, token, now, (event,))
    return Values({"token": word.write(), "id": id_, "expires": write_time(expires)})


def _addresses(call: Call) -> tuple[str, ...]:
    """Where nodes answer that are up, this one first."""
    snapshot, here = call.snapshot, call.services.node_id
    up = [node for node in snapshot.nodes if call.services.node_state(node) is not NodeState.DOWN]
    known = [
        snapshot.facts[node].value.peers_address
        for node in sorted(up, key=lambda node: node != here)
        if node in snapshot.facts
    ]
    found = tuple(address.removeprefix(TCP) for address in known if address.startswith(TCP))
    if not found:
        raise RefusalError(
            Status.ERROR_CLUSTER_NODE_UNREACHABLE,
            "no other machine can reach this cluster: none of its nodes that are up listens at an address of its own",
        )
    return found[:_MOST_ADDRESSES]


async def upgrade_level(call: Call) -> Values:
    """Raise the functional level to what every node can, or say what that would be."""
    snapshot = call.snapshot
    level, target, sentence = _plan_level(snapshot)
    if target > level and call.inputs.flag("perform"):
        event = call.event(
            EventKind.CLUSTER_UPGRADED,
            snapshot.cluster.instance_id,
            snapshot.cluster.name,
            f"the cluster's functional level was raised from {level} to {target}",
            {"level": target},
            {"level": level},
        )
        await call.services.database.members.raise_level(level, target, (event,))
    return Values({"status": 0, "level": level, "target": target, "sentence": sentence})


def _plan_level(snapshot: ClusterSnapshot) -> tuple[int, int, str]:
    """The level, what it can be raised to, and why not further. Raises RefusalError 5973 when a node holds it back."""
    level = snapshot.cluster.level
    wanted = max(node.levels.highest for node in snapshot.nodes.values())
    target = min(node.levels.highest for node in snapshot.nodes.values())
    holding = sorted(node.name for node in snapshot.nodes.values() if node.levels.highest == target)
    if wanted <= level:
        return level, level, f"the cluster is at functional level {level}, the highest that its nodes know"
    if target <= level:
        raise RefusalError(
            Status.ERROR_CLUSTER_UPGRADE_INCOMPATIBLE_VERSIONS,
            f"the cluster stays at functional level {level}: {', '.join(holding)} cannot go beyond it, others know "
            f"{wanted}; install the newer Quorate there, start its daemon once, and try again",
        )
    sentence = f"functional level {level} becomes {target}; nodes with an older Quorate cannot join any more"
    return level, target, sentence if target == wanted else f"{sentence} (not {wanted}: {', '.join(holding)})"
