"""The token with which a machine joins, as people carry it from one machine to the other: one word.

It names the cluster, where its nodes answer, and the nodes' authority by the SHA-256 of its certificate, so that the
machine knows whom it tells the secret. The last four bytes are a checksum: a word that was not copied whole is noticed.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Final, Self

from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import json_text, json_texts
from quorate.clusapi.status import Status

PREFIX: Final = "quorate-join-"
_CHECKSUM: Final = 4
_MAX_LENGTH: Final = 8192


@dataclass(frozen=True, slots=True)
class JoinWord:
    """What the word says."""

    cluster: str
    addresses: tuple[str, ...]
    """Where nodes of the cluster answer each other, as host:port."""
    fingerprint: str
    """SHA-256 of the certificate of the nodes' authority, in hexadecimal."""
    id: str
    secret: str

    def write(self) -> str:
        """Write it."""
        fields = {
            "cluster": self.cluster,
            "addresses": list(self.addresses),
            "fingerprint": self.fingerprint,
            "id": self.id,
            "secret": self.secret,
        }
        data = json.dumps(fields, separators=(",", ":")).encode()
        return PREFIX + base64.urlsafe_b64encode(data + _checksum(data)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it. Raises CallerError 87 when it is no token, or was not copied whole."""
        text = text.strip()
        if not text.startswith(PREFIX):
            raise _wrong(f'it does not begin with "{PREFIX}"; "quorate node token" on a node of the cluster makes one')
        encoded = text.removeprefix(PREFIX)
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise _wrong("it was not copied whole") from error
        data, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
        if len(text) > _MAX_LENGTH or checksum != _checksum(data):
            raise _wrong("it was not copied whole")
        try:
            fields = json.loads(data)
        except ValueError as error:
            raise _wrong("it was made by another program") from error
        fields = fields if isinstance(fields, dict) else {}
        texts = [json_text(fields, name) for name in ("cluster", "fingerprint", "id", "secret")]
        addresses = json_texts(fields, "addresses")
        if not all(texts) or not addresses:
            raise _wrong("it was made by another program")
        cluster, fingerprint, id_, secret = texts
        return cls(cluster, addresses, fingerprint, id_, secret)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_CHECKSUM]


def _wrong(reason: str) -> CallerError:
    return CallerError(Status.ERROR_INVALID_PARAMETER, f"this is no token to join with: {reason}")
