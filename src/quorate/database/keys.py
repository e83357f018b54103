r"""Where everything lies in the store.

::

    cluster/                       the registry, one record per key (values.KeyRecord):
        ""                             the cluster: ClusterName, ClusterInstanceID, the cluster's properties
        Nodes\<number>                 NodeName, Paused, …
        Groups\<guid>                  Name, GroupType, Contains (ids of its resources), PreferredOwners, …
        Resources\<guid>               Name, Type, Dependencies, PossibleOwners (absent: all nodes), …
        Resources\<guid>\Parameters    the private properties
        ResourceTypes\<name>           DllName, poll intervals, …
        GroupSets\<guid>               Name, Groups (ids), DependencyExpression (on groups and sets), …
        Networks\<guid>, NetworkInterfaces\<guid>
    private/                       out of reach of every registry call (records.py):
        coordinator, ownership/<group>, run/<group>, leases/<node>, admissions/<node>, nodes/<node>,
        names/<kind>/<folded name>, counters/<what>, events/<time>-<node>-<counter>, schema;
        of a cluster of several machines (member_records.py, credentials.py): authority/<nodes or users>, store,
        tokens/<id>, evicted/<node>, users/<folded name>; accounts with passwords (accounts.py):
        accounts/<folded name>; and of fencing (fence_records.py): fence/<node>, fenced;
        of moves (move_records.py): moves/<group>, drains/<node>, queue; and of those that are over
        (migration_history.py): migrations/<session>/<left or arrived>

A registry path is written as ClusAPI writes it, with backslashes and without regard to case; the key of its record is
the path folded, with slashes, every unusual character as %XX of its UTF-8. No path leads out of ``cluster/``.
"""

from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import (
    GroupId,
    GroupSetId,
    NetworkId,
    NetworkInterfaceId,
    NodeId,
    ResourceId,
    SessionId,
)
from quorate.clusapi.status import Status
from quorate.database.contract import MAX_KEY_LENGTH

REGISTRY: Final = "cluster/"
PRIVATE: Final = "private/"

COORDINATOR: Final = "private/coordinator"
OWNERSHIP: Final = "private/ownership/"
RUN: Final = "private/run/"
LEASES: Final = "private/leases/"
ADMISSIONS: Final = "private/admissions/"
NODE_FACTS: Final = "private/nodes/"
NAMES: Final = "private/names/"
COUNTERS: Final = "private/counters/"
EVENTS: Final = "private/events/"
REACH: Final = "private/reach/"
ANNOUNCED: Final = "private/announced"
SCHEMA: Final = "private/schema"
AUTHORITIES: Final = "private/authority/"
NODES_AUTHORITY: Final = "private/authority/nodes"
USERS_AUTHORITY: Final = "private/authority/users"
STORE_ACCESS: Final = "private/store"
USERS: Final = "private/users/"
ACCOUNTS: Final = "private/accounts/"
TOKENS: Final = "private/tokens/"
EVICTED: Final = "private/evicted/"
LEAVING: Final = "private/leaving/"
FENCES: Final = "private/fence/"
FENCED: Final = "private/fenced"
MOVES: Final = "private/moves/"
DRAINS: Final = "private/drains/"
QUEUE: Final = "private/queue"
MIGRATIONS: Final = "private/migrations/"

CLUSTER: Final = ""
NODES: Final = "Nodes"
GROUPS: Final = "Groups"
RESOURCES: Final = "Resources"
RESOURCE_TYPES: Final = "ResourceTypes"
GROUP_SETS: Final = "GroupSets"
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
    return below(resource_path(resource))


def below(path: str) -> str:
    """The registry path of the private properties of the object at a path; the cluster's own path is empty."""
    return f"{path}\\{PARAMETERS}" if path else PARAMETERS


def resource_type_path(name: str) -> str:
    """The registry path of a resource type."""
    return f"{RESOURCE_TYPES}\\{name}"


def group_set_path(group_set: GroupSetId) -> str:
    """The registry path of a group set."""
    return f"{GROUP_SETS}\\{group_set}"


def network_path(network: NetworkId) -> str:
    """The registry path of a network."""
    return f"{NETWORKS}\\{network}"


def network_interface_path(interface: NetworkInterfaceId) -> str:
    """The registry path of a network interface."""
    return f"{NETWORK_INTERFACES}\\{interface}"


def split_path(path: str) -> tuple[str, ...]:
    """The names that a registry path is made of; none for the root. Raises CallerError ERROR_INVALID_NAME."""
    if path == CLUSTER:
        return ()
    names = tuple(path.split("\\"))
    for name in names:
        is_text = name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)
        if not (1 <= len(name) <= MAX_SEGMENT and is_text) or "\0" in name:
            raise CallerError(Status.ERROR_INVALID_NAME, f"{path[:80]!r} is no registry path: {name[:80]!r} is no name")
    return names


def registry_key(path: str) -> str:
    """The store's key of a registry path. Raises CallerError ERROR_INVALID_NAME."""
    key = REGISTRY + "/".join(fold(name) for name in split_path(path))
    if len(key) > MAX_KEY_LENGTH:
        raise CallerError(Status.ERROR_FILENAME_EXCED_RANGE, f"the registry path {path[:80]!r}… is too long")
    return key


@lru_cache(maxsize=1024)  # the same few names again and again: of the registry's own keys
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


def admission(node: NodeId) -> str:
    """When the node was admitted: this record's revision."""
    return ADMISSIONS + node


def node_facts(node: NodeId) -> str:
    """How to reach the node's daemon."""
    return NODE_FACTS + node


def name_index(kind: str, name: str) -> str:
    """Which object of a kind has this name: "group", "resource", "node", "network"…; or which network a "subnet"."""
    return f"{NAMES}{kind}/{fold(name)}"


def user(name: str) -> str:
    """A user of the clients' door over TLS."""
    return USERS + fold(name)


def account(name: str) -> str:
    """A user who has a password."""
    return ACCOUNTS + fold(name)


def reach(node: NodeId) -> str:
    """What the node says of its network interfaces: their links, and whom it reaches on them."""
    return REACH + node


def counter(what: str) -> str:
    """The last number given for ``what``."""
    return COUNTERS + what


def token(id_: str) -> str:
    """A token with which a machine may join."""
    return TOKENS + id_


def evicted(node: NodeId) -> str:
    """What is remembered of a node that was evicted."""
    return EVICTED + node


def leaving(node: NodeId) -> str:
    """While this record stands the node is given no group: it is being evicted."""
    return LEAVING + node


def move(group: GroupId) -> str:
    """The group's entry in the queue of moves."""
    return MOVES + group


def drain(node: NodeId) -> str:
    """The drain of the node."""
    return DRAINS + node


def migration(session: SessionId, side: str) -> str:
    """What one side of a live migration tells of it when it is over."""
    return f"{MIGRATIONS}{session}/{side}"


def fence(node: NodeId) -> str:
    """How the node is switched off; secrets are in it."""
    return FENCES + node


def event(time: datetime, node: NodeId, count: int) -> str:
    """Where an event lies: keys sort by time."""
    return f"{EVENTS}{int(time.timestamp() * 1000):013d}-{node}-{count:06d}"
