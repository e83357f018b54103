"""What the choice of a transport goes by, and the certificates that a migration shows."""

import os
import time
from typing import Final

from quorate.clusapi.addresses import TCP, tcp_place
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_flag, json_float, json_int, json_text
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.context import EngineContext
from quorate.engine.link_probe import Speed
from quorate.hypervisor.transfer import MigrationTls
from quorate.migration.path_rules import PathSight
from quorate.migration.transport import (
    BANDWIDTH_PROPERTY,
    OLD_VERSION,
    Compression,
    Encryption,
    Transport,
    Way,
    Wishes,
    smallest_limit,
)

MIB: Final = 1 << 20
ENOUGH: Final = 32 * MIB
"""Bytes that a migration must have sent, so that its speed says something of the link."""
LATELY: Final = 3600.0
"""Seconds for which it does."""


def wishes_of(snapshot: ClusterSnapshot, group: GroupId | None = None, bandwidth_limit: int = 0) -> Wishes:
    """What the cluster's properties say; a value that this version does not know is the strictest.

    Of the bandwidth limits, in MiB/s, the smallest holds: that of the call, of the ``group``'s virtual machine, of the
    cluster.
    """
    properties = snapshot.cluster.properties
    resource = None if group is None else snapshot.vm_resource(group)
    own = 0 if resource is None else resource.parameters.number(BANDWIDTH_PROPERTY)
    max_bandwidth, whose = smallest_limit(bandwidth_limit, own, properties.number(BANDWIDTH_PROPERTY))
    encryption = properties.number("MigrationEncryption", Encryption.WHERE_POSSIBLE)
    return Wishes(
        encryption=Encryption(min(encryption, Encryption.ALWAYS)),
        compression=Compression(
            min(properties.number("MigrationCompression", Compression.WHERE_FASTER), Compression.ALWAYS)
        ),
        max_bandwidth=max_bandwidth,
        limited_by=whose,
        post_copy=properties.number("MigrationPostCopy") == 1,
    )


def own_offer(context: EngineContext) -> dict[str, JsonValue]:
    """What this node can do as a destination, in its answer to `assess`."""
    processors = os.cpu_count() or 1
    return {
        "encrypts": context.certificates is not None,
        "processors": processors,
        "idle": max(0.0, processors - os.getloadavg()[0]),
        "compression": context.hypervisor.compression,
    }


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
        idle=min(json_float(own_offer(context), "idle"), json_float(offer, "idle")),
        compression=context.hypervisor.compression if json_float(offer, "compression") else None,
        no_post_copy=json_text(offer, "no_post_copy") if "no_post_copy" in offer else OLD_VERSION,
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


class CarriedSpeeds:
    """What migrations from here have got across, by their destination: links are measured by what they are for.

    A link carries at least that much. One that carries more than its processors can send looks slower than it is, which
    does no harm: nothing is chosen for it that a faster one would not take.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._known: dict[NodeId, tuple[float, float]] = {}

    def learn(self, node: NodeId, transport: Transport, sent: int, rate: float) -> None:
        """Remember at which rate (bytes per second) one migration has sent so many bytes.

        One that was bounded or compressed says nothing, nor does one that had little to send.
        """
        if rate > 0 and sent >= ENOUGH and not transport.max_bandwidth and not transport.compressed:
            self._known[node] = rate, time.monotonic()

    def speed(self, node: NodeId, tried: Speed | None) -> float | None:
        """Give the bytes per second that the link to a node carries, by a trial or by a migration; None: not known."""
        found, at = self._known.get(node, (None, 0.0))
        trial = tried is not None and tried.of_link and tried.at > at
        speed, at = (tried.bytes_per_second, tried.at) if tried is not None and trial else (found, at)
        return speed if time.monotonic() - at < LATELY else None
