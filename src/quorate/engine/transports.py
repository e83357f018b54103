"""What the choice of a transport goes by, and the certificates that a migration shows."""

import os
from typing import Final

from quorate.clusapi.addresses import TCP, tcp_place
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_flag, json_int
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.context import EngineContext
from quorate.hypervisor.transfer import MigrationTls
from quorate.migration.path_rules import PathSight
from quorate.migration.transport import Encryption, Way, Wishes

MIB: Final = 1 << 20


def wishes_of(snapshot: ClusterSnapshot) -> Wishes:
    """What the cluster's properties say; a value that this version does not know is the strictest."""
    properties = snapshot.cluster.properties
    encryption = properties.number("MigrationEncryption", Encryption.WHERE_POSSIBLE)
    return Wishes(
        encryption=Encryption(min(encryption, Encryption.ALWAYS)),
        max_bandwidth=properties.number("MigrationBandwidthLimit") * MIB,
    )


def own_offer(context: EngineContext) -> dict[str, JsonValue]:
    """What this node can do as a destination, in its answer to `assess`."""
    return {"encrypts": context.certificates is not None, "processors": os.cpu_count() or 1}


def way_to(context: EngineContext, node: NodeId, offer: JsonObject, path: PathSight) -> Way:
    """What is known of the way to a node, by its answer to `assess`; an older one offers nothing."""
    facts = context.view.snapshot.facts.get(node)
    over_tcp = facts is not None and facts.value.peers_address.startswith(TCP)
    return Way(
        destination=context.name_of(node),
        over_tcp=over_tcp,
        address=path.host,
        network=path.network,
        encrypts=json_flag(offer, "encrypts") and context.certificates is not None,
        processors=min(os.cpu_count() or 1, json_int(offer, "processors", 2)),
    )


def source_tls(context: EngineContext, destination: NodeId) -> MigrationTls | None:
    """What this node shows as a source; the destination must be good for the address at which it is reached as a node.

    By that address alone the cluster knows it, whichever network the memory takes. None: it has no certificates.
    """
    facts = context.view.snapshot.facts.get(destination)
    if facts is None or not facts.value.peers_address.startswith(TCP):
        return None
    return _tls(context, tcp_place(facts.value.peers_address).host)


def destination_tls(context: EngineContext, source: NodeId) -> MigrationTls | None:
    """What this node shows as a destination; nobody but the source may come in. None: it has no certificates."""
    return _tls(context, f"CN={source},O={context.view.snapshot.cluster.instance_id}")


def _tls(context: EngineContext, peer: str) -> MigrationTls | None:
    identity = context.certificates
    if identity is None:
        return None
    return MigrationTls(identity.nodes_ca, identity.certificate, identity.key, peer)
