"""Where the nodes of a pocket cluster speak MS-CMRP: each at a port of its own, as their configurations say.

The nodes follow each other: the first by number has the port that was asked for. Port 135, where the endpoint mapper
is, they share: whichever node takes a connection there names its own port.
"""

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.status import Status
from quorate.dcerpc.epm import PORT
from quorate.service.configuration import MscmrpSettings

OFF: Final = "off"
_TABLE: Final = "[mscmrp]"


def parse_mscmrp(text: str, *, endpoint_mapper: bool) -> MscmrpSettings | None:
    """Read what was asked for: "HOST:PORT" for the first node, or "off", which is None. Raises CallerError 87."""
    if text == OFF:
        if endpoint_mapper:
            raise CallerError(
                Status.ERROR_INVALID_PARAMETER, "--endpoint-mapper tells where MS-CMRP is, and it is to be off"
            )
        return None
    place = HostPort.parse(text)
    if not place.port:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, f"{text!r}: the first node needs a port of 1 or more, the others follow it"
        )
    return MscmrpSettings(place, endpoint_mapper)


def of_node(first: MscmrpSettings | None, index: int) -> MscmrpSettings | None:
    """What the node at that place in the order gets. Raises CallerError 87 when there is no such port."""
    if first is None:
        return None
    host, port = first.listen.host, first.listen.port + index
    if port > 65535:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, f"port {first.listen.port} leaves no ports for {index} more nodes"
        )
    return MscmrpSettings(HostPort(host, port), first.endpoint_mapper)


def check_free(wanted: Iterable[MscmrpSettings | None]) -> None:
    """See that every address can be had, before a daemon tries and nobody sees why it ends. Raises FaultError 1117."""
    places = set[tuple[HostPort, bool]]()
    for settings in wanted:
        if settings is not None:
            places.add((settings.listen, False))
            places |= {(HostPort(settings.listen.host, PORT), True)} if settings.endpoint_mapper else set()
    for place, is_shared in sorted(places, key=str):
        try:
            _bind(place, is_shared=is_shared)
        except OSError as error:
            raise FaultError(
                Status.ERROR_IO_DEVICE, f"MS-CMRP cannot be spoken at {place}: {error.strerror or error}"
            ) from error


def _bind(place: HostPort, *, is_shared: bool) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        tried.bind(address)


def write_mscmrp(configuration: Path, settings: MscmrpSettings | None) -> None:
    """Put the settings into a node's configuration file, in the place of those that are there; the rest stays."""
    kept, is_ours = [], False
    for line in configuration.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("["):
            is_ours = line.strip().startswith(_TABLE)
        if not is_ours:
            kept.append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    if settings is not None:
        mapper = "true" if settings.endpoint_mapper else "false"
        kept += ["", _TABLE, f'listen = "{settings.listen}"', f"endpoint_mapper = {mapper}"]
    new = configuration.with_suffix(".new")
    new.write_text("\n".join(kept) + "\n", encoding="utf-8")
    new.replace(configuration)
