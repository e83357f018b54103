"""A node's certificates on its disk.

    node.key        the node's private key; it never leaves the machine, and a renewal keeps it
    node.crt        its certificate, by the nodes' authority; written last, so that an identity is there whole or not
    nodes-ca.crt    the nodes' authority: who signs for other nodes
    users-ca.crt    the users' authority: who signs for people and programs

The directory is 0700 and the files are 0600, each written beside its place and then renamed. Keeping the key at a
renewal makes a renewal the change of one file, which no crash can leave half done.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status

KEY: Final = "node.key"
CERTIFICATE: Final = "node.crt"
NODES_CA: Final = "nodes-ca.crt"
USERS_CA: Final = "users-ca.crt"
RENEWED_WITH: Final = 1 / 3
"""The share of a certificate's life that is left when it is renewed."""


@dataclass(frozen=True, slots=True)
class IdentityPems:
    """The four files' contents."""

    key: bytes
    certificate: bytes
    nodes_ca: bytes
    users_ca: bytes


class NodeIdentity:
    """The files of one node's identity in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        """Name the directory; nothing is read yet."""
        self.directory = directory

    @property
    def key(self) -> Path:
        """The private key's file."""
        return self.directory / KEY

    @property
    def certificate(self) -> Path:
        """The certificate's file."""
        return self.directory / CERTIFICATE

    @property
    def nodes_ca(self) -> Path:
        """The file of the nodes' authority."""
        return self.directory / NODES_CA

    @property
    def users_ca(self) -> Path:
        """The file of the users' authority."""
        return self.directory / USERS_CA

    def exists(self) -> bool:
        """Tell whether an identity was written here, whole."""
        return self.certificate.exists()

    def save(self, pems: IdentityPems) -> None:
        """Write all four. Raises FaultError 1117."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.directory.chmod(0o700)
            for path, data in (
                (self.nodes_ca, pems.nodes_ca),
                (self.users_ca, pems.users_ca),
                (self.key, pems.key),
                (self.certificate, pems.certificate),
            ):
                write_private(path, data)
        except OSError as error:
            raise _failed(f"the node's certificates could not be written to {self.directory}", error) from error

    def save_certificate(self, pem: bytes) -> None:
        """Put a renewed certificate, for the same key, in the place of the old one. Raises FaultError 1117."""
        try:
            write_private(self.certificate, pem)
        except OSError as error:
            raise _failed(f"the renewed certificate could not be written to {self.certificate}", error) from error

    def load(self) -> IdentityPems:
        """Read all four. Raises FaultError 2 with the file that is missing."""
        try:
            return IdentityPems(
                key=self.key.read_bytes(),
                certificate=self.certificate.read_bytes(),
                nodes_ca=self.nodes_ca.read_bytes(),
                users_ca=self.users_ca.read_bytes(),
            )
        except OSError as error:
            raise FaultError(
                Status.ERROR_FILE_NOT_FOUND,
                f"the node's certificates are not in {self.directory}: {error.strerror} ({error.filename}); "
                '"quorate cluster create" and "quorate node join" make them',
            ) from error

    def due_for_renewal(self, now: datetime) -> bool:
        """Tell whether only a third of the certificate's life is left, or less. Raises CallerError 13, FaultError 2."""
        from quorate.peers.authority import describe

        facts = describe(self.load().certificate)
        return facts.not_after - now <= (facts.not_after - facts.not_before) * RENEWED_WITH

    def stamp(self) -> tuple[int, ...]:
        """What changes when one of the files is replaced: a context that was made of them is stale then."""
        parts: list[int] = []
        for path in (self.key, self.certificate, self.nodes_ca, self.users_ca):
            try:
                status = path.stat()
            except OSError:
                parts += (0, 0, 0)
            else:
                parts += (status.st_ino, status.st_size, status.st_mtime_ns)
        return tuple(parts)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all, and durably. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _failed(what: str, error: OSError) -> FaultError:
    return FaultError(Status.ERROR_IO_DEVICE, f"{what}: {error.strerror}")
