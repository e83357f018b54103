"""Where a cluster is: the sockets of its nodes.

An address is the directory of a pocket cluster (its ``cluster.json`` lists the nodes) or the socket of one node. None
is ``$QUORATE_CLUSTER``, or else the pocket cluster at its default place.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.status import Status

ENVIRONMENT: Final = "QUORATE_CLUSTER"
CLUSTER_FILE: Final = "cluster.json"


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """One node's HTTP socket; the name is empty when only the socket is known."""

    name: str
    socket: str


def default_directory() -> Path:
    """The place of the user's own pocket cluster."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "quorate" / "pocket"


def cluster_place(address: str | None = None) -> Path:
    """The directory or socket that an address means."""
    given = address or os.environ.get(ENVIRONMENT)
    return Path(given).expanduser() if given else default_directory()


def node_addresses(address: str | None = None) -> tuple[NodeAddress, ...]:
    """Find the nodes' sockets. Raises FaultError 1722 when nothing is there, CallerError 13 for a damaged file."""
    place = cluster_place(address)
    if place.is_dir():
        return _of_directory(place)
    if place.exists():
        return (NodeAddress("", str(place)),)
    raise FaultError(
        Status.RPC_S_SERVER_UNAVAILABLE,
        f'there is no cluster at {place}; "quorate up" makes one, --cluster names another',
    )


def _of_directory(place: Path) -> tuple[NodeAddress, ...]:
    path = place / CLUSTER_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(NodeAddress(str(node["name"]), str(node["http"])) for node in description["nodes"])
    except FileNotFoundError as error:
        raise FaultError(
            Status.RPC_S_SERVER_UNAVAILABLE, f'{place} holds no cluster (no {CLUSTER_FILE}); "quorate up" makes one'
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CallerError(Status.ERROR_INVALID_DATA, f"{path} is damaged: {error}") from error
    if not nodes:
        raise CallerError(Status.ERROR_INVALID_DATA, f"{path} names no node")
    return nodes
