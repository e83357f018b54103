"""The records of a cluster of several machines: its authorities, how etcd is reached, tokens, and who was evicted.

They hold secrets: private keys, the key to etcd itself, the hashes of tokens. Nothing but nodes reads them.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self

from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue
from quorate.database.documents import Document, Fields, damaged, parse_document, write_document


@dataclass(frozen=True, slots=True)
class AuthorityRecord:
    """One of the cluster's two certificate authorities, in PEM: for nodes, or for users."""

    certificate: str
    key: str
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        return write_document(self.VERSION, {"certificate": self.certificate, "key": self.key}, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("an authority's record", parse_document(data, cls.VERSION, "an authority's record"))
        return cls(fields.text("certificate"), fields.text("key"), fields.rest())


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """How a node that joins reaches etcd: what `cluster create` was told. PEM, empty where there is none."""

    endpoints: tuple[str, ...]
    prefix: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    handed_over: bool = True
    """Without, every machine brings a client's pair of its own."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def to_json(self) -> Document:
        """Write it for a machine that joins."""
        return {
            **self.extra,
            "endpoints": list(self.endpoints),
            "prefix": self.prefix,
            "ca": self.ca,
            "certificate": self.certificate,
            "key": self.key,
            "handed_over": self.handed_over,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read what ``to_json`` wrote. Raises FaultError when it is damaged."""
        fields = Fields("the access to etcd", value)
        return cls(
            endpoints=fields.texts("endpoints"),
            prefix=fields.text("prefix"),
            ca=fields.text("ca"),
            certificate=fields.text("certificate"),
            key=fields.text("key"),
            handed_over=fields.flag("handed_over"),
            extra=fields.rest(),
        )

    def encode(self) -> bytes:
        """Write it."""
        return write_document(self.VERSION, self.to_json(), {})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        return cls.from_json(parse_document(data, cls.VERSION, "the access to etcd"))


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A token with which one machine may join, once: the hash of its secret, and who has used it.

    ``machine`` is the hash of the public key of the machine that has: the same one may ask again, when its join broke
    after the cluster had let it in.
    """

    secret_hash: str
    expires: datetime
    actor: str
    node: NodeId | None = None
    machine: str = ""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def fits(self, secret: str) -> bool:
        """Answer whether it is the secret; the time it takes tells nothing about it."""
        return hmac.compare_digest(hash_secret(secret), self.secret_hash)

    def used_by(self, node: NodeId, machine: str) -> Self:
        """The token after a machine has joined with it."""
        return replace(self, node=node, machine=machine)

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "secret_hash": self.secret_hash,
            "expires": write_time(self.expires),
            "actor": self.actor,
            "node": self.node,
            "machine": self.machine,
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("a token", parse_document(data, cls.VERSION, "a token"))
        return cls(
            secret_hash=fields.text("secret_hash"),
            expires=_time("a token", fields.text("expires")),
            actor=fields.text("actor"),
            node=fields.optional("node", NodeId),
            machine=fields.text("machine"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, slots=True)
class EvictedNode:
    """A node that is in the cluster no more: its daemon reads here why, and its number is never given again."""

    name: str
    time: datetime
    actor: str
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {"name": self.name, "time": write_time(self.time), "actor": self.actor}
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        fields = Fields("an eviction", parse_document(data, cls.VERSION, "an eviction"))
        return cls(
            name=fields.text("name"),
            time=_time("an eviction", fields.text("time")),
            actor=fields.text("actor"),
            extra=fields.rest(),
        )


def hash_secret(secret: str) -> str:
    """The hash under which a token's secret is kept; the secret is random, so that a plain hash is safe."""
    return hashlib.sha256(secret.encode()).hexdigest()


def write_time(time: datetime) -> str:
    """A moment as RFC 3339 in UTC, to the second."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _time(what: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise damaged(what, str(error)) from error
    if time.tzinfo is None:
        raise damaged(what, f"{text!r} is no moment in UTC")
    return time
