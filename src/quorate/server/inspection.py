"""What a node tells of itself for ``quorate validate``, and what it can find out; ``service`` implements it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, Self

from quorate.clusapi.json_types import (
    JsonObject,
    JsonValue,
    json_flag,
    json_float,
    json_objects,
    json_text,
)
from quorate.cluster.picture import Picture
from quorate.database.maintenance import StoreStatus


@dataclass(frozen=True, slots=True)
class StorageFact:
    """A storage of a node's configuration: its directory there, and whether every node sees the same files in it."""

    name: str
    path: str
    shared: bool


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """How a node is, by its own word. What it does not have is None or empty."""

    time: float  # seconds since 1970 by its clock, when it said so
    version: str  # of the program
    guard: bool | None = None  # whether its guard is live; None: it needs none
    certificate_expires: datetime | None = None
    storages: tuple[StorageFact, ...] = ()

    def to_json(self) -> dict[str, JsonValue]:
        """Write it for the node that asked."""
        expires = self.certificate_expires
        storages: list[JsonValue] = [
            {"name": storage.name, "path": storage.path, "shared": storage.shared} for storage in self.storages
        ]
        return {
            "time": self.time,
            "version": self.version,
            "guard": self.guard,
            "certificate_expires": None if expires is None else expires.astimezone(UTC).isoformat(),
            "storages": storages,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self | None:
        """Read what another node wrote; None when an older one wrote nothing."""
        if not value:
            return None
        expires, guard = json_text(value, "certificate_expires"), value.get("guard")
        return cls(
            time=json_float(value, "time"),
            version=json_text(value, "version"),
            guard=guard if isinstance(guard, bool) else None,
            certificate_expires=_moment(expires),
            storages=tuple(
                StorageFact(json_text(one, "name"), json_text(one, "path"), json_flag(one, "shared"))
                for one in json_objects(value, "storages")
            ),
        )


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


class NodeInspection(Protocol):
    """What is behind the checks of ``quorate validate`` on one node."""

    def health(self) -> NodeHealth:
        """How this node is; cheap, since every status page asks."""
        ...

    async def store_status(self) -> StoreStatus:
        """How the cluster database is. Raises ClusterError."""
        ...

    def picture(self) -> Picture | None:
        """The cluster as the coordinator would see it now; None where nothing can be planned."""
        ...
