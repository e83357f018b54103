"""Where etcd is, who we are to it, and how long we wait for it."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

DEFAULT_PORT: Final = 2379
MAX_PREFIX_LENGTH: Final = 256


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One member's address for clients: ``https://HOST:PORT``, or ``http://HOST:PORT`` without TLS."""

    host: str
    port: int
    is_tls: bool

    @property
    def target(self) -> str:
        """The address as gRPC takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.target}"


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """An etcd cluster, and the part of it that belongs to one Quorate cluster.

    ``ca`` signs the members' certificates (None: an authority that the system trusts), ``cert`` and ``key`` are our own
    (None: etcd asks for none); all PEM files. ``prefix`` begins every key, for example ``quorate/lab/``: whoever has
    the same endpoints and the same prefix has the same database. Where etcd knows users (by the common names of their
    certificates), ours needs a role that may read and write what begins with the prefix; only to defragment, root.
    """

    endpoints: tuple[str, ...]
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    prefix: str = "quorate/"

    def parsed(self) -> tuple[Endpoint, ...]:
        """The endpoints, in the order of preference.

        Raises:
            CallerError: 87, for whatever is wrong with the settings as they are written.
        """
        if not self.endpoints:
            raise _wrong("endpoints", "names no member of the etcd cluster")
        endpoints = tuple(_endpoint(text) for text in self.endpoints)
        if len(set(endpoints)) != len(endpoints):
            raise _wrong("endpoints", "names a member twice")
        if len({endpoint.is_tls for endpoint in endpoints}) > 1:
            raise _wrong("endpoints", "mixes http and https: use https for all")
        if not endpoints[0].is_tls and (self.ca or self.cert or self.key):
            raise _wrong("endpoints", "has http addresses, for which certificates mean nothing: write https")
        if (self.cert is None) != (self.key is None):
            raise _wrong("cert", "and key belong together: give both or none")
        if not 1 <= len(self.prefix) <= MAX_PREFIX_LENGTH or not self.prefix.isascii() or not self.prefix.isprintable():
            raise _wrong("prefix", f"must be 1 to {MAX_PREFIX_LENGTH} printable ASCII characters")
        if not self.prefix.endswith("/"):
            raise _wrong("prefix", f'must end with "/", else {self.prefix!r} would hold the keys of other clusters too')
        return endpoints

    def credentials(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The contents of ``ca``, ``key`` and ``cert``.

        Raises:
            CallerError: 87, a file cannot be read or is no PEM file.
        """
        return (
            _read("ca", self.ca, b"CERTIFICATE-----"),
            _read("key", self.key, b"PRIVATE KEY-----"),
            _read("cert", self.cert, b"CERTIFICATE-----"),
        )

    def checked_credentials(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The same, when they serve for TLS.

        Raises:
            CallerError: 87, as above, or the files are broken, or the key belongs to another certificate.
        """
        files = self.credentials()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
        except ssl.SSLError as error:
            raise _wrong("ca", f"{self.ca} is no certificate: {error.reason or error}") from error
        try:
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except ssl.SSLError as error:
            reason = "the key belongs to another certificate" if "MISMATCH" in str(error) else error.reason or error
            raise _wrong("cert", f"{self.cert} and key {self.key} do not serve: {reason}") from error
        return files


@dataclass(frozen=True, slots=True)
class EtcdTimings:
    """How long we wait, in seconds.

    What they are chosen for: when the leader dies, its followers elect another after 1 to 2 s (etcd's default), and a
    writer shall go on less than 3 s after the last answer that it had. A read is repeated, so it may be impatient; a
    write is sent once, so it waits longer, and it is only sent to a member that has answered within ``fresh``.
    """

    read_wait: float = 0.5
    """For the first attempts of a read; every further round over the endpoints waits twice as long."""
    write_wait: float = 1.5
    answer_wait: float = 5.0
    """For a read with all its attempts, and for the way to a member that will take a write."""
    fresh: float = 0.5
    pulse: float = 0.4
    """How often a member is asked while something is watched on it."""
    pulse_wait: float = 0.8
    stream_wait: float = 5.0
    """A watch that says nothing for so long, though it is asked every second, is begun anew."""


def _endpoint(text: str) -> Endpoint:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _wrong("endpoints", f"has {text!r}, which is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise _wrong("endpoints", f"has {text!r}: an address is https://HOST:PORT")
    return Endpoint(parts.hostname, port or DEFAULT_PORT, parts.scheme == "https")


def _read(name: str, path: Path | None, marker: bytes) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _wrong(name, f"{path} cannot be read: {error.strerror}") from error
    if marker not in content:
        raise _wrong(name, f"{path} is no PEM file with {marker.decode().strip('-').lower()}")
    return content


def _wrong(name: str, reason: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, f"etcd: {name} {reason}")
