"""The resource types that a cluster knows from its first moment, with their facts as on any failover cluster.

Most of them drive something that only Windows has. They are registered all the same, with their library's name, class,
characteristics and required dependencies, so that programs which look a type up find what they look for; making a
resource of one is refused with the reason that stands here (status 5079). Sources: [object-model] 8,
clusctl-resource-type-get-class-info, clusctl-resource-type-get-characteristics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from quorate.clusapi.property_lists import PropertyValue, pack_value_list
from quorate.clusapi.states import Characteristics, ResourceClass
from quorate.clusapi.syntaxes import Syntax

TYPE_VIRTUAL_MACHINE: Final = "Virtual Machine"
TYPE_VIRTUAL_MACHINE_CONFIGURATION: Final = "Virtual Machine Configuration"
TYPE_GENERIC_SCRIPT: Final = "Generic Script"
TYPE_NETWORK_NAME: Final = "Network Name"
TYPE_PHYSICAL_DISK: Final = "Physical Disk"
TYPE_IP_ADDRESS: Final = "IP Address"

LOOKS_ALIVE_MS: Final = 5000
IS_ALIVE_MS: Final = 60_000
SHARED: Final = 0x80000000
"""Subclass of storage that several nodes reach, and of a network's internet protocol (CLUS_RESSUBCLASS_…)."""

_CLUSTER_DLL: Final = "clusres.dll"
_LATER_DLL: Final = "clusres2.dll"
_VM_DLL: Final = "vmclusres.dll"
_NETWORK_SERVICES_DLL: Final = "clnetres.dll"

_DISKS: Final = "what disks of virtual machines lie on is named in each node's configuration, as storages"
_WITNESS: Final = "the quorum of this cluster is that of its database, which has no witness"
_ADDRESSES: Final = "addresses of nodes are the operating system's affair; a Generic Script can add one to a group"
_NAMES: Final = "the cluster has one network name, its own; a Generic Script can register another with a name service"
_SERVICES: Final = "it drives a service of Windows; a Generic Script can do the like with a service of this system"
_REPLICAS: Final = "virtual machines are not replicated to other clusters"


@dataclass(frozen=True, slots=True)
class StandardType:
    """One resource type that every cluster has."""

    name: str
    dll: str
    """DllName: the library that carries it out where there are such libraries. Nothing is loaded from it here."""
    refusal: str = ""
    """Why no resource of it can be made here; empty for a type that this cluster carries out."""
    class_: ResourceClass = ResourceClass.UNKNOWN
    subclass: int = 0
    characteristics: Characteristics = Characteristics.NONE
    requires: tuple[str, ...] = ()
    """Names of the types that a resource of it depends on."""

    @property
    def is_only_registered(self) -> bool:
        """Answer whether no node carries it out: "Network Name" is, for the cluster's own name alone."""
        return bool(self.refusal) and self.name != TYPE_NETWORK_NAME

    @property
    def required_dependencies(self) -> bytes:
        """The answer to GET_REQUIRED_DEPENDENCIES: a value list of names."""
        return pack_value_list(PropertyValue(Syntax.NAME, name) for name in self.requires)


_ALL: Final = (
    StandardType(TYPE_VIRTUAL_MACHINE, _VM_DLL, characteristics=Characteristics.SINGLE_GROUP_INSTANCE),
    StandardType(TYPE_VIRTUAL_MACHINE_CONFIGURATION, _VM_DLL, characteristics=Characteristics.SINGLE_GROUP_INSTANCE),
    StandardType(TYPE_GENERIC_SCRIPT, _CLUSTER_DLL),
    StandardType(TYPE_NETWORK_NAME, _CLUSTER_DLL, _NAMES, requires=(TYPE_IP_ADDRESS,)),
    StandardType("Distributed Network Name", _LATER_DLL, _NAMES),
    StandardType(TYPE_IP_ADDRESS, _CLUSTER_DLL, _ADDRESSES, ResourceClass.NETWORK, SHARED),
    StandardType("IPv6 Address", _CLUSTER_DLL, _ADDRESSES, ResourceClass.NETWORK, SHARED),
    StandardType(TYPE_PHYSICAL_DISK, _CLUSTER_DLL, _DISKS, ResourceClass.STORAGE, SHARED, Characteristics.QUORUM),
    StandardType("Storage Pool", _LATER_DLL, _DISKS, ResourceClass.STORAGE, SHARED),
    StandardType("File Share Witness", _LATER_DLL, _WITNESS, characteristics=Characteristics.QUORUM),
    StandardType("Cloud Witness", _LATER_DLL, _WITNESS, characteristics=Characteristics.QUORUM),
    StandardType("File Server", _CLUSTER_DLL, _SERVICES),
    StandardType("Scale Out File Server", _LATER_DLL, _SERVICES),
    StandardType("Generic Application", _CLUSTER_DLL, _SERVICES),
    StandardType("Generic Service", _CLUSTER_DLL, _SERVICES),
    StandardType("DHCP Service", _NETWORK_SERVICES_DLL, _SERVICES, requires=(TYPE_PHYSICAL_DISK,)),
    StandardType("WINS Service", _NETWORK_SERVICES_DLL, _SERVICES, requires=(TYPE_PHYSICAL_DISK,)),
    StandardType(
        "Distributed Transaction Coordinator",
        "mtxclu.dll",
        _SERVICES,
        requires=(TYPE_NETWORK_NAME, TYPE_PHYSICAL_DISK),
    ),
    StandardType("MSMQ", "mqclus.dll", _SERVICES, requires=(TYPE_IP_ADDRESS, TYPE_NETWORK_NAME, TYPE_PHYSICAL_DISK)),
    StandardType("Virtual Machine Replication Broker", _VM_DLL, _REPLICAS),
)

STANDARD_TYPES: Final[Mapping[str, StandardType]] = MappingProxyType({one.name: one for one in _ALL})
"""Every standard type by its name as spelled."""

_FOLDED: Final = {one.name.casefold(): one for one in _ALL}


def standard_type(name: str) -> StandardType | None:
    """The standard type of that name, without regard to case; None for one that somebody has added."""
    return _FOLDED.get(name.casefold())
