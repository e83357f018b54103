"""What registry calls may not change: what says which objects there are, how they are called and how they belong.

Such values are kept consistent with one another and with the index of names by the operations of their objects; one of
them set by itself would leave a group without its resource, or two objects with one name. Everything else, properties
above all, is set here as well as there.
"""

from collections.abc import Mapping
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.database import keys

_OF_OBJECTS: Final[Mapping[str, Mapping[str, str]]] = {
    keys.NODES: {
        "NodeName": "a node's name is fixed when it is added",
        "Paused": "PauseNode and ResumeNode set it",
        "NodeDrainStatus": "PauseNode and ResumeNode set it",
        "NodeDrainTarget": "PauseNode and ResumeNode set it",
        "StatusInformation": "the cluster itself says how a node is",
        "NodeHighestVersion": "the node itself says which versions it knows",
        "NodeLowestVersion": "the node itself says which versions it knows",
    },
    keys.GROUPS: {
        "Name": "SetGroupName sets it",
        "Contains": "CreateResource, DeleteResource and ChangeResourceGroup set it",
        "GroupType": "a group's type is fixed when it is made",
        "PersistentState": "the group's owner keeps it: GroupControl sets it",
        "DefaultOwner": "the group's owner keeps it: GroupControl sets it",
        "PreferredOwners": "SetGroupNodeList sets it",
        "DependencyExpression": "SetGroupDependencyExpression sets it",
        "ProviderGroupSets": "AddGroupToGroupSetDependency sets it",
    },
    keys.GROUP_SETS: {
        "Name": "a group set's name is fixed when it is made",
        "Groups": "AddGroupToGroupSet, RemoveGroupFromGroupSet and MoveGroupToGroupSet set it",
        "DependencyExpression": "SetGroupSetDependencyExpression sets it",
    },
    keys.RESOURCES: {
        "Name": "SetResourceName sets it",
        "Type": "a resource's type is fixed when it is made",
        "Dependencies": "SetResourceDependencyExpression sets it",
        "DependencyExpression": "SetResourceDependencyExpression sets it",
        "PossibleOwners": "AddResourceNode and RemoveResourceNode set it",
    },
    keys.RESOURCE_TYPES: {},
    keys.NETWORKS: {
        "Name": "SetNetworkName sets it",
        "Role": "it has to fit the other networks: NetworkControl sets it",
        "Metric": "it ends AutoMetric: NetworkControl sets it",
        "AutoMetric": "it changes Metric: NetworkControl sets it",
    },
    keys.NETWORK_INTERFACES: {
        "Name": "it follows from its node and its adapter",
        "Node": "it is what the node has found",
        "Network": "it is what the node has found",
        "Adapter": "it is what the node has found",
        "Addresses": "it is what the node has found",
    },
}
_OF_CLUSTER: Final[Mapping[str, str]] = {
    "ClusterName": "SetClusterName sets it",
    "ClusterInstanceID": "it never changes",
    "ClusterNameResource": "it says which resource is the cluster's name",
    "ClusterFunctionalLevel": "UpgradeClusterFunctionalLevel sets it",
}
_OF_PARAMETERS: Final[Mapping[str, str]] = {
    "VmId": "a virtual machine's id never changes",
    "Definition": "a virtual machine's definition is changed where it can be validated",
    "Pinned": "it is what the running virtual machine was started with",
}


def _folded(rules: Mapping[str, str]) -> Mapping[str, str]:
    return {keys.fold(name): reason for name, reason in rules.items()}


_OBJECTS: Final = {keys.fold(kind): _folded(rules) for kind, rules in _OF_OBJECTS.items()}
_CLUSTER: Final = _folded(_OF_CLUSTER)
_PARAMETERS: Final = _folded(_OF_PARAMETERS)
_BELOW: Final = keys.fold(keys.PARAMETERS)


def check_value(path: str, name: str) -> None:
    """Refuse a value that registry calls may not set or remove. Raises CallerError ERROR_ACCESS_DENIED."""
    names = tuple(map(keys.fold, keys.split_path(path)))
    match names:
        case ():
            rules = _CLUSTER
        case (kind, _):
            rules = _OBJECTS.get(kind, {})
        case (kind, _, below) if kind in _OBJECTS and below == _BELOW:
            rules = _PARAMETERS
        case _:
            return
    if (reason := rules.get(keys.fold(name))) is not None:
        raise CallerError(
            Status.ERROR_ACCESS_DENIED, f"{name!r} of the key {path!r} is not for registry calls to set: {reason}"
        )


def check_key(path: str) -> None:
    """Refuse to make or delete the key of an object. Raises CallerError ERROR_ACCESS_DENIED."""
    names = tuple(map(keys.fold, keys.split_path(path)))
    of_object = bool(names) and names[0] in _OBJECTS
    if of_object and (len(names) <= 2 or (len(names) == 3 and names[2] == _BELOW)):
        raise CallerError(
            Status.ERROR_ACCESS_DENIED,
            f"the key {path!r} is an object's: it is made and deleted with the object, not by registry calls",
        )
