"""The messages between nodes, those of a migration above all, as both sides declare them.

Requests of the source: `assess`, `prepare`, `session` (is the destination still at work?), `yours`, `abandon`,
`pages paused` (post-copy: the connection is given up).
Requests of the destination: `prepared`, `failed`, `session` (does the session still live?, rule R11), `recover`
(post-copy: go on at this address).
Requests of the coordinator: `giver` (is `yours` out for your gift to a node that has died?, rule R8).
Between any two: `promise` (to take nothing over while the database is silent, rule R10), `ping`, `forward` (an
operation for a group that the other one owns).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import GroupId, ImageId, NodeId, SessionId, VmId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_int, json_text, json_texts
from quorate.clusapi.status import Status


def _object(body: JsonObject, name: str) -> JsonObject:
    value = body.get(name)
    if not isinstance(value, dict):
        raise FaultError(Status.ERROR_INVALID_DATA, f"a message without {name}")
    return value


@dataclass(frozen=True, slots=True)
class Assess:
    """Could you run this virtual machine now? Answered with the memory that is free, or refused with the reason."""

    definition: JsonObject
    pinned: JsonObject
    guest: JsonObject | None = None
    """What its guest was given where it runs (`GuestSight`); None: an older node asks."""
    explain: bool = False
    """Answer with every rule and refuse nothing, with the clock, and with an address to try a connection to."""
    addresses: tuple[str, ...] = ()
    """Where else connections are to be tried: addresses of the node that is asked, in this order."""

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {
            "definition": self.definition,
            "pinned": self.pinned,
            "guest": self.guest,
            "explain": self.explain,
            "addresses": list(self.addresses),
        }

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it; an older node asks for a plain answer."""
        guest = body.get("guest")
        return cls(
            definition=_object(body, "definition"),
            pinned=_object(body, "pinned"),
            guest=guest if isinstance(guest, Mapping) else None,
            explain=body.get("explain") is True,
            addresses=json_texts(body, "addresses"),
        )


@dataclass(frozen=True, slots=True)
class Prepare:
    """Start a QEMU that waits for this guest."""

    session: SessionId
    group: GroupId
    vm_id: VmId
    name: str
    source: NodeId
    image: ImageId
    source_image: ImageId
    definition: JsonObject
    pinned: JsonObject
    channels: int
    """Channels of the transfer besides the main one; 0 is one plain stream."""
    encrypted: bool = False
    """Over TLS, with the nodes' certificates."""
    compressed: bool = False
    """By zstd."""
    host: str = ""
    """The address of the destination at which memory shall come in; empty: wherever its QEMUs listen by default."""
    transport: str = ""
    """All of it in a few words, for people."""
    post_copy: bool = False
    """The transfer may switch to post-copy."""

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {
            "session": self.session,
            "group": self.group,
            "vm_id": self.vm_id,
            "name": self.name,
            "source": self.source,
            "image": self.image,
            "source_image": self.source_image,
            "definition": self.definition,
            "pinned": self.pinned,
            "channels": self.channels,
            "encrypted": self.encrypted,
            "compressed": self.compressed,
            "host": self.host,
            "transport": self.transport,
            "post_copy": self.post_copy,
        }

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it."""
        return cls(
            session=SessionId(json_text(body, "session")),
            group=GroupId(json_text(body, "group")),
            vm_id=VmId(json_text(body, "vm_id")),
            name=json_text(body, "name"),
            source=NodeId(json_text(body, "source")),
            image=ImageId(json_text(body, "image")),
            source_image=ImageId(json_text(body, "source_image")),
            definition=_object(body, "definition"),
            pinned=_object(body, "pinned"),
            channels=json_int(body, "channels"),
            encrypted=body.get("encrypted") is True,
            compressed=body.get("compressed") is True,
            host=json_text(body, "host"),
            transport=json_text(body, "transport"),
            post_copy=body.get("post_copy") is True,
        )


@dataclass(frozen=True, slots=True)
class OfSession:
    """Anything that is said about a session; a message of another session is nothing (R3)."""

    session: SessionId
    sentence: str = ""
    uri: str = ""
    epoch: int = 0
    revision: int = 0
    group: GroupId | None = None
    """`session`: whose guest it is; None: an older node asks."""

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {
            "session": self.session,
            "sentence": self.sentence,
            "uri": self.uri,
            "epoch": self.epoch,
            "revision": self.revision,
            "group": self.group,
        }

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it; what is missing is empty."""
        return cls(
            session=SessionId(json_text(body, "session")),
            sentence=json_text(body, "sentence"),
            uri=json_text(body, "uri"),
            epoch=json_int(body, "epoch"),
            revision=json_int(body, "revision"),
            group=GroupId(group) if (group := json_text(body, "group")) else None,
        )


@dataclass(frozen=True, slots=True)
class SessionAnswer:
    """What a node answers to `session`."""

    known: bool
    is_preparing: bool = False
    """A destination: it works on it, and `prepared` will follow."""
    uri: str = ""
    """A destination that this daemon has made ready: where it listens; in case that its `prepared` was lost."""
    is_certain: bool = True
    """What it does not know is not there: no QEMU of this group that an earlier daemon left waits to be taken on."""

    @property
    def is_ready(self) -> bool:
        """Tell whether the destination listens."""
        return bool(self.uri)

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {"known": self.known, "preparing": self.is_preparing, "uri": self.uri, "certain": self.is_certain}

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it; what is missing is not so."""
        return cls(
            known=body.get("known") is True,
            is_preparing=body.get("preparing") is True,
            uri=json_text(body, "uri"),
            is_certain=body.get("certain") is True,
        )


@dataclass(frozen=True, slots=True)
class GiverQuestion:
    """What became of your gift, by the record of this epoch? Answered with one word of `GiverWord`."""

    group: GroupId
    epoch: int

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {"group": self.group, "epoch": self.epoch}

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it."""
        return cls(GroupId(json_text(body, "group")), json_int(body, "epoch"))


@dataclass(frozen=True, slots=True)
class PromiseRequest:
    """The database does not answer me: will you take nothing over from me for ``period`` seconds from now?"""

    node: NodeId
    incarnation: str
    period: float

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {"node": self.node, "incarnation": self.incarnation, "period": self.period}

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it. Raises FaultError 13: without a node, or without a period."""
        node, period = json_text(body, "node"), body.get("period")
        if not node or not isinstance(period, int | float) or isinstance(period, bool):
            raise FaultError(Status.ERROR_INVALID_DATA, "a question for a promise without a node or a period")
        return cls(NodeId(node), json_text(body, "incarnation"), float(period))


@dataclass(frozen=True, slots=True)
class PromiseAnswer:
    """Whether it was promised, and why (not)."""

    granted: bool
    sentence: str
    until_seconds: float = 0.0
    """How long the promiser keeps it, from when it received the question; the asker counts the period that it asked."""

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {"granted": self.granted, "sentence": self.sentence, "until_seconds": self.until_seconds}

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it; what is not clearly a promise is none."""
        until = body.get("until_seconds")
        seconds = float(until) if isinstance(until, int | float) and not isinstance(until, bool) else 0.0
        return cls(body.get("granted") is True, json_text(body, "sentence"), seconds)
