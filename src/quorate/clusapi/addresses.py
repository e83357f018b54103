"""Where something listens, as people and records write it.

    unix:/run/quorate/1/peers        a socket of this machine
    tcp:192.0.2.7:7400               the other nodes' door, over mutual TLS
    https://192.0.2.7:7443           the clients' door, over mutual TLS

A host is a name or an address; an IPv6 address stands in brackets, as in a URL.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final, Self

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

UNIX: Final = "unix:"
TCP: Final = "tcp:"
HTTPS: Final = "https://"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host and a TCP port; port 0 is whichever the system chooses."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "HOST:PORT". Raises CallerError 87."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if bracketed:
            host = host[1:-1]
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise _wrong(text, "a host and a port from 0 to 65535 are needed, as in 192.0.2.7:7400")
        if (":" in host) != bracketed or any(character in host for character in "/@?#[] \t\r\n\0"):
            raise _wrong(text, "the host is a name or an address, an IPv6 address in brackets")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Tell whether it stands for every address of the machine: somewhere to listen, nothing to connect to."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def tcp_place(address: str) -> HostPort:
    """The host and port of a "tcp:" address. Raises CallerError 87."""
    if not address.startswith(TCP):
        raise _wrong(address, "it does not begin with tcp:")
    return HostPort.parse(address.removeprefix(TCP))


def https_place(address: str) -> HostPort:
    """The host and port of an "https://" address. Raises CallerError 87."""
    if not address.startswith(HTTPS):
        raise _wrong(address, "it does not begin with https://")
    return HostPort.parse(address.removeprefix(HTTPS).rstrip("/"))


def _wrong(text: str, reason: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, f"{text[:120]!r} is no address: {reason}")
