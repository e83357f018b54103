r"""Where everything lies in the store.

::

    cluster/                       the registry, one record per key (values.KeyRecord):
        ""                             the cluster: ClusterName, ClusterInstanceID, the cluster's properties
        Nodes\<number>                 NodeName, Paused, …
        Groups\<guid>                  Name, GroupType, Contains (ids of its resources), PreferredOwners, …
        Resources\<guid>               Name, Type, Dependencies, PossibleOwners (absent: all nodes), …
        Resources\<guid>\Parameters    the private properties
        ResourceTypes\<name>           poll intervals, …
        Networks\<guid>, NetworkInterfaces\<guid>
    private/                       out of reach of every registry call (records.py):
        ownership/<group>, run/<group>, leases/<node>, nodes/<node>, names/<kind>/<folded name>, counters/<what>,
        events/<time>-<node>-<counter>, schema

A registry path is written as ClusAPI writes it, with backslashes and without regard to case; the key of its record is
the path folded, with slashes, every unusual character as %XX of its UTF-8. No path leads out of ``cluster/``.
"""

from datetime import datetime
from typing import Final
from urllib.parse import quote

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.status import Status
from quorate.database.contract import MAX_KEY_LENGTH

REGISTRY: Final = "cluster/"
PRIVATE: Final = "private/"

OWNERSHIP: Final = "private/ownership/"
RUN: Final = "private/run/"
LEASES: Final = "private/leases/"
NODE_FACTS: Final = "private/nodes/"
NAMES: Final = "private/names/"
COUNTERS: Final = "private/counters/"
EVENTS: Final = "private/events/"
SCHEMA: Final = "private/schema"

CLUSTER: Final = ""
NODES: Final = "Nodes"
GROUPS: Final = "Groups"
RESOURCES: Final = "Resources"
RESOURCE_TYPES: Final = "ResourceTypes"
NETWORKS: Final = "Networks"
NETWORK_INTERFACES: Final = "NetworkInterfaces"
PARAMETERS: Final = "Parameters"

MAX_SEGMENT: Final = 255  # characters of one name in a registry path, as the Windows registry has it


# --- Registry paths ------------------------------------------------------------------------------------------------


def node_path(node: NodeId) -> str:
    """The registry path of a node."""
    return f"{NODES}\\{node}"


def group_path(group: GroupId) -> str:
    """The registry path of a group."""
    return f"{GROUPS}\\{group}"


def resource_path(resource: ResourceId) -> str:
    """The registry path of a resource: its common properties."""
    return f"{RESOURCES}\\{resource}"


def parameters_path(resource: ResourceId) -> str:
    """The registry path of a resource's private properties."""
    return f"{RESOURCES}\\{resource}\\{PARAMETERS}"


def resource_type_path(name: str) -> str:
    """The registry path of a resource type."""
    return f"{RESOURCE_TYPES}\\{name}"


def split_path(path: str) -> tuple[str, ...]:
    """The names that a registry path is made of; none for the root. Raises CallerError ERROR_INVALID_NAME."""
    if path == CLUSTER:
        return ()
    names = tuple(path.split("\\"))
    for name in names:
        if not 1 <= len(name) <= MAX_SEGMENT or "\0" in name or any("\ud800" <= char <= "\udfff" for char in name):
            raise CallerError(Status.ERROR_INVALID_NAME, f"{path[:80]!r} is no registry path: {name[:80]!r} is no name")
    return names


def registry_key(path: str) -> str:
    """The store's key of a registry path. Raises CallerError ERROR_INVALID_NAME."""
    key = REGISTRY + "/".join(fold(name) for name in split_path(path))
    if len(key) > MAX_KEY_LENGTH:
        raise CallerError(Status.ERROR_FILENAME_EXCED_RANGE, f"the registry path {path[:80]!r}… is too long")
    return key


def fold(name: str) -> str:
    """A name as part of a key: the same for all spellings that differ only in case."""
    return quote(name.casefold(), safe=" !#$&'()*+,;=@[]^_`{|}~-.:")


# --- Private records -----------------------------------------------------------------------------------------------


def ownership(group: GroupId) -> str:
    """Who may run the group."""
    return OWNERSHIP + group


def run(group: GroupId) -> str:
    """What the group's owner writes about it."""
    return RUN + group


def lease(node: NodeId) -> str:
    """The node's sign of life."""
    return LEASES + node


def node_facts(node: NodeId) -> str:
    """How to reach the node's daemon."""
    return NODE_FACTS + node


def name_index(kind: str, name: str) -> str:
    """Which object of a kind ("group", "resource", "node") has this name."""
    return f"{NAMES}{kind}/{fold(name)}"


def counter(what: str) -> str:
    """The last number given for ``what``."""
    return COUNTERS + what


def event(time: datetime, node: NodeId, count: int) -> str:
    """Where an event lies: keys sort by time."""
    return f"{EVENTS}{int(time.timestamp() * 1000):013d}-{node}-{count:06d}"
