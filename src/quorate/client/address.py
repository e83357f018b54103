"""Where a cluster is: the doors of its nodes, and what is shown there.

An address is one of:

- the directory of a cluster: its ``cluster.json`` lists the nodes, by the sockets of a pocket cluster or by URLs;
- the socket of one node;
- ``https://HOST:PORT``, or several with commas between: the nodes of a cluster on other machines;
- ``ncacn_ip_tcp:HOST[PORT]``, or several with commas between: servers of MS-CMRP, see :mod:`quorate.client.mscmrp`;
- a bare name: the directory of that name in ``~/.config/quorate``.

None is ``$QUORATE_CLUSTER``, or else the pocket cluster at its default place, or, where there is none, the cluster that
this machine is a node of.

On other machines a client shows its credentials: the directory that ``quorate user add --out`` has made (``user.crt``,
``user.key``, ``ca.crt`` and a ``cluster.json``). It is the one that was given, or ``$QUORATE_CREDENTIALS``, or the
cluster's own directory, or whichever in ``~/.config/quorate`` lists the address.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quorate.clusapi.addresses import HTTPS, HostPort, https_place
from quorate.clusapi.errors import CallerError, ClusterError, FaultError
from quorate.clusapi.status import Status

ENVIRONMENT: Final = "QUORATE_CLUSTER"
CREDENTIALS_ENVIRONMENT: Final = "QUORATE_CREDENTIALS"
CLUSTER_FILE: Final = "cluster.json"
WIRE: Final = "ncacn_ip_tcp:"
MACHINE_DIRECTORY: Final = Path("/var/lib/quorate")
"""Where a machine that is a node keeps its state, unless it was told otherwise."""
USER_CERTIFICATE: Final = "user.crt"
USER_KEY: Final = "user.key"
CLUSTER_CA: Final = "ca.crt"


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """One node's door for clients; the name is empty when only the door is known."""

    name: str
    socket: str
    """The path of a socket, or a URL."""
    credentials: Path | None = None
    """What is shown at a URL: a directory that holds all three files."""

    @property
    def remote(self) -> HostPort | None:
        """The host and port of a URL; None for a socket of this machine."""
        return https_place(self.socket) if self.socket.startswith(HTTPS) else None

    @property
    def called(self) -> str:
        """What people call it."""
        return self.name or self.socket


def default_directory() -> Path:
    """The place of the user's own pocket cluster."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "quorate" / "pocket"


def configuration_directory() -> Path:
    """Where the credentials for clusters on other machines are kept, one directory for each."""
    configuration = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configuration) if configuration else Path.home() / ".config") / "quorate"


def wire_address(address: str | None = None) -> str | None:
    """The address of servers of MS-CMRP; None when the cluster is reached otherwise."""
    given = address or os.environ.get(ENVIRONMENT) or ""
    return given if given.startswith(WIRE) else None


def cluster_place(address: str | None = None) -> Path:
    """The directory or socket that an address means. Raises CallerError 87 for what is neither."""
    given = address or os.environ.get(ENVIRONMENT)
    if not given:
        return default_directory()
    if given.startswith((HTTPS, WIRE)):
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{given} is on other machines: a directory is needed here")
    place = Path(given).expanduser()
    kept = configuration_directory() / given
    return kept if "/" not in given and given not in (".", "..") and not place.exists() and kept.is_dir() else place


def node_addresses(address: str | None = None, credentials: str | None = None) -> tuple[NodeAddress, ...]:
    """Find the nodes' doors.

    Raises FaultError 1722 when nothing is there, CallerError: 13 for a damaged file, 87 for a URL that is none, 2 for
    credentials that are not there.
    """
    given = address or os.environ.get(ENVIRONMENT) or ""
    if given.startswith(HTTPS):
        urls = [_checked(url.strip()) for url in given.split(",")]
        directory = _credentials(credentials, urls, None)
        return tuple(NodeAddress("", url, directory) for url in urls)
    place = cluster_place(address)
    if not given and not place.exists() and os.access(MACHINE_DIRECTORY / CLUSTER_FILE, os.R_OK):
        place = MACHINE_DIRECTORY
    if place.is_dir():
        return _of_directory(place, credentials)
    if place.exists():
        return (NodeAddress("", str(place)),)
    raise FaultError(
        Status.RPC_S_SERVER_UNAVAILABLE,
        f'there is no cluster at {place}; "quorate up" makes one, --cluster names another',
    )


def _checked(url: str) -> str:
    place = https_place(url)
    if place.port == 0:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{url}: a node listens at a port from 1 to 65535")
    return f"{HTTPS}{place}"


def _of_directory(place: Path, credentials: str | None) -> tuple[NodeAddress, ...]:
    nodes = _listed(place)
    urls = [_checked(node.socket) for node in nodes if node.socket.startswith(HTTPS)]
    if not urls:
        return nodes
    directory = _credentials(credentials, urls, place)
    return tuple(NodeAddress(node.name, node.socket, directory) for node in nodes)


def _listed(place: Path) -> tuple[NodeAddress, ...]:
    path = place / CLUSTER_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(NodeAddress(str(node["name"]), str(node["http"])) for node in description["nodes"])
    except FileNotFoundError as error:
        raise FaultError(
            Status.RPC_S_SERVER_UNAVAILABLE, f'{place} holds no cluster (no {CLUSTER_FILE}); "quorate up" makes one'
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CallerError(Status.ERROR_INVALID_DATA, f"{path} is damaged: {error}") from error
    if not nodes:
        raise CallerError(Status.ERROR_INVALID_DATA, f"{path} names no node")
    return nodes


def _credentials(given: str | None, urls: list[str], place: Path | None) -> Path:
    """The directory with what is shown at these URLs. Raises CallerError 2 when there is none, or it is not whole."""
    named = given or os.environ.get(CREDENTIALS_ENVIRONMENT)
    if named:
        directory = Path(named).expanduser()
    elif place is not None and (place / USER_CERTIFICATE).exists():
        directory = place
    else:
        directory = _kept_for(urls)
    for name in (USER_CERTIFICATE, USER_KEY, CLUSTER_CA):
        if not os.access(directory / name, os.R_OK):
            raise CallerError(
                Status.ERROR_FILE_NOT_FOUND,
                f'{directory / name} is not there, or cannot be read: "quorate user add NAME --role read --out DIR" on '
                "a node makes credentials, --credentials names their directory",
            )
    return directory


def _kept_for(urls: list[str]) -> Path:
    base = configuration_directory()
    for directory in sorted(base.iterdir()) if base.is_dir() else ():
        try:
            listed = {node.socket.rstrip("/") for node in _listed(directory)}
        except ClusterError:
            continue
        if listed.intersection(urls):
            return directory
    return base / "CLUSTER"
