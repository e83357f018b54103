"""What context handles stand for: an object of the cluster, by its id, and the access that was granted.

An object that was deleted since is found out by the next operation on it. A handle holds nothing but these words, so
that it survives whatever happens to the object's owner.
"""

from dataclasses import dataclass

from quorate.server.mscmrp.access import GrantedAccess


@dataclass(frozen=True, slots=True)
class OpenObject:
    """What every handle knows: its access, and which object it is, by id, and by name for people."""

    access: GrantedAccess
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class OpenCluster(OpenObject):
    """A handle of the cluster."""


@dataclass(frozen=True, slots=True)
class OpenNode(OpenObject):
    """A handle of a node."""


@dataclass(frozen=True, slots=True)
class OpenGroup(OpenObject):
    """A handle of a group."""


@dataclass(frozen=True, slots=True)
class OpenResource(OpenObject):
    """A handle of a resource."""


@dataclass(frozen=True, slots=True)
class OpenNetwork(OpenObject):
    """A handle of a network."""


@dataclass(frozen=True, slots=True)
class OpenNetInterface(OpenObject):
    """A handle of a network interface."""


@dataclass(frozen=True, slots=True)
class OpenGroupSet(OpenObject):
    """A handle of a group set."""
