"""TLS of a migration, by QEMU's own ``tls-creds-x509``: each side shows its node's certificate and checks the other's.

QEMU reads files with names of its own out of a directory, while ``object-add`` is carried out and never again. So
the directory is made for that moment: it holds what is valid now, and a private key lies in no second place for longer.

Both sides must be of the cluster: each verifies the other's certificate by the nodes' authority, the source that it is
good for the destination's address (``tls-hostname``), the destination that it is the source's own and no other node's
(``tls-authz``). QEMU checks the latter two itself, since TLS only proves who somebody is.

``sanity-check`` is off: QEMU before 10.1 wants certificates to allow the encipherment of keys, which no key exchange
of TLS 1.3 does, and refuses what is perfectly good for it. What it would check at the start the handshake checks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

from quorate.hypervisor.transfer import MigrationTls

CREDENTIALS: Final = "migration-tls"
ADMITTED: Final = "migration-source"
"""The ids of QEMU's objects; they stay until the next transfer, since one that is taken up again goes by them."""
PRIORITY: Final = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
"""What GnuTLS may agree on: as nodes speak among each other."""

_GROUP: Final = b"""\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""ffdhe2048, a group of [RFC 7919]. A QEMU that is given none makes one of its own before it answers, which takes from
a tenth of a second to ten; for TLS 1.3 it is of no use."""


class Endpoint(Enum):
    """Which side of the transfer a QEMU is."""

    SOURCE = "client"
    DESTINATION = "server"


@contextmanager
def directory_of_certificates(directory: Path, tls: MigrationTls, owner: tuple[int, int]) -> Iterator[Path]:
    """Have the certificates in a directory that a QEMU of this account (uid and gid) alone may read; raises OSError.

    The directory is gone afterwards.
    """
    shutil.rmtree(directory, ignore_errors=True)  # of a daemon that was killed here
    directory.mkdir(mode=0o700)
    try:
        for source, name in _files(tls):
            _write(directory / name, source.read_bytes(), owner)
        _write(directory / "dh-params.pem", _GROUP, owner)
        os.chown(directory, *owner)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _files(tls: MigrationTls) -> Iterator[tuple[Path, str]]:
    yield tls.authority, "ca-cert.pem"
    for endpoint in Endpoint:
        yield tls.certificate, f"{endpoint.value}-cert.pem"
        yield tls.key, f"{endpoint.value}-key.pem"


def _write(path: Path, data: bytes, owner: tuple[int, int]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchown(descriptor, *owner)


def credentials(directory: Path, endpoint: Endpoint) -> Mapping[str, object]:
    """Give the arguments of object-add for what this side shows, and by whom the other side has to be certified."""
    return {
        "qom-type": "tls-creds-x509",
        "id": CREDENTIALS,
        "dir": str(directory),
        "endpoint": endpoint.value,
        "verify-peer": True,
        "priority": PRIORITY,
        "sanity-check": False,
    }


def admission(tls: MigrationTls) -> Mapping[str, object]:
    """Give the arguments of object-add for whom a destination lets in: one node alone."""
    return {"qom-type": "authz-simple", "id": ADMITTED, "identity": tls.peer}


def encryption_parameters(tls: MigrationTls | None, endpoint: Endpoint | None) -> Mapping[str, object]:
    """Give what goes into migrate-set-parameters; without TLS it takes back what an earlier transfer has set."""
    at_destination = endpoint is Endpoint.DESTINATION
    return {
        "tls-creds": CREDENTIALS if tls else "",
        "tls-hostname": tls.peer if tls and not at_destination else "",
        "tls-authz": ADMITTED if tls and at_destination else "",
    }
