"""Where servers of MS-CMRP are: ``ncacn_ip_tcp:HOST[PORT]``, or several with commas between.

Without a port the machine's endpoint mapper (TCP 135) is asked for it.
"""

import re
from dataclasses import dataclass
from typing import Final

from quorate.client.address import WIRE
from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

_PLACE: Final = re.compile(r"(?P<host>[^\[\]\s/,]+)(?:\[(?P<port>[0-9]{1,5})\])?")


@dataclass(frozen=True, slots=True)
class Place:
    """One server; port 0 is for the endpoint mapper to tell."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{WIRE}{self.host}" + (f"[{self.port}]" if self.port else "")


def parse_places(address: str) -> tuple[Place, ...]:
    """Read an address. Raises CallerError 87."""
    return tuple(_parse(text.strip()) for text in address.split(","))


def _parse(text: str) -> Place:
    found = _PLACE.fullmatch(text.removeprefix(WIRE))
    port = int(found["port"] or 0) if found else 0
    if found is None or port > 65535 or (found["port"] is not None and port == 0):
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            f"{text[:120]!r} is no address: {WIRE}HOST[PORT] is needed, as in {WIRE}192.0.2.7[49152]",
        )
    return Place(found["host"], port)
