"""The messages of a machine that joins: the only ones that a node answers to somebody who shows no certificate.

::

    machine                                       any node of the cluster
      |  (TLS, nobody verified)                     |
      |-- authority ------------------------------->|  tells nothing but what everybody may know
      |<----------- certificate of the authority ---|
      |  is it the one that the token names? Are the clocks alike? Else: not a word more.
      |  (TLS again, the node verified by it)       |
      |-- admit(token, name, request for a certificate) -->|
      |<----------- number, certificates, access to etcd --|
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, JsonValue, json_int, json_object, json_text, json_texts
from quorate.clusapi.status import Status
from quorate.clusapi.versions import LevelRange

AUTHORITY: Final = "authority"
ADMIT: Final = "admit"
ADMISSION_KINDS: Final = frozenset({AUTHORITY, ADMIT})
"""What a node answers without knowing who asks."""


@dataclass(frozen=True, slots=True)
class AuthorityAnswer:
    """Who signs for the cluster's nodes, and what time it is there."""

    cluster: str
    instance_id: str
    certificate: str
    time: datetime

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {
            "cluster": self.cluster,
            "instance_id": self.instance_id,
            "certificate": self.certificate,
            "time": self.time.isoformat(),
        }

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it. Raises FaultError 13."""
        return cls(
            cluster=json_text(body, "cluster"),
            instance_id=json_text(body, "instance_id"),
            certificate=json_text(body, "certificate"),
            time=_time(body),
        )


@dataclass(frozen=True, slots=True)
class Application:
    """A machine asks to be let in."""

    token: str
    """The token's id."""
    secret: str
    name: str
    request: str
    """The request for its certificate, in PEM."""
    hosts: tuple[str, ...]
    """The addresses and names by which it will be reached."""
    levels: LevelRange
    time: datetime
    """Its clock when it asked."""

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {
            "token": self.token,
            "secret": self.secret,
            "name": self.name,
            "request": self.request,
            "hosts": list(self.hosts),
            "lowest_level": self.levels.lowest,
            "highest_level": self.levels.highest,
            "time": self.time.isoformat(),
        }

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it. Raises FaultError 13."""
        return cls(
            token=json_text(body, "token"),
            secret=json_text(body, "secret"),
            name=json_text(body, "name"),
            request=json_text(body, "request"),
            hosts=json_texts(body, "hosts"),
            levels=LevelRange(json_int(body, "lowest_level"), json_int(body, "highest_level")),
            time=_time(body),
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """A machine is let in: it is this node now."""

    node: NodeId
    cluster: str
    instance_id: str
    certificate: str
    nodes_ca: str
    users_ca: str
    store: JsonObject
    """How etcd is reached (``StoreAccess``)."""

    def to_json(self) -> dict[str, JsonValue]:
        """Write it."""
        return {
            "node": self.node,
            "cluster": self.cluster,
            "instance_id": self.instance_id,
            "certificate": self.certificate,
            "nodes_ca": self.nodes_ca,
            "users_ca": self.users_ca,
            "store": self.store,
        }

    @classmethod
    def from_json(cls, body: JsonObject) -> Self:
        """Read it; what is missing is empty."""
        return cls(
            node=NodeId(json_text(body, "node")),
            cluster=json_text(body, "cluster"),
            instance_id=json_text(body, "instance_id"),
            certificate=json_text(body, "certificate"),
            nodes_ca=json_text(body, "nodes_ca"),
            users_ca=json_text(body, "users_ca"),
            store=json_object(body, "store"),
        )


def _time(body: JsonObject) -> datetime:
    try:
        time = datetime.fromisoformat(json_text(body, "time"))
    except ValueError as error:
        raise FaultError(Status.ERROR_INVALID_DATA, f"a message without a time: {error}") from error
    if time.tzinfo is None:
        raise FaultError(Status.ERROR_INVALID_DATA, "a message whose time is not in UTC")
    return time
