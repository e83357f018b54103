"""Every operation of the API, declared once.

From this table come the HTTP endpoint ``POST /v1/<name>``, its OpenAPI page, the client's methods and the reference
page ``docs/reference/operations.md``; a handler is written once and answers on every face. Names are those of
[MS-CMRP] without ``Api``; ``opnums`` lists the wire calls that an operation answers (its Ex and Node… twins are the
same operation with more inputs). Operations without opnum are our own.

An object is named by its id or, without regard to case, by its name. An input that may be absent is ``None`` then,
which is not the same as empty: a control code may be given no buffer or an empty one.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from quorate.clusapi.fence_operations import FENCE_OPERATIONS
from quorate.clusapi.group_set_operations import GROUP_SET_OPERATIONS
from quorate.clusapi.member_operations import MEMBER_OPERATIONS
from quorate.clusapi.migration_operations import MIGRATION_OPERATIONS
from quorate.clusapi.network_operations import NETWORK_OPERATIONS
from quorate.clusapi.operation_declarations import CLUSTER_NODE as _CLUSTER_NODE
from quorate.clusapi.operation_declarations import ENTRIES as _ENTRIES
from quorate.clusapi.operation_declarations import ENUM_MASK as _ENUM_MASK
from quorate.clusapi.operation_declarations import ID as _ID
from quorate.clusapi.operation_declarations import IN_BUFFER as _IN_BUFFER
from quorate.clusapi.operation_declarations import NAME as _NAME
from quorate.clusapi.operation_declarations import STATE as _STATE
from quorate.clusapi.operation_declarations import STATUS as _STATUS
from quorate.clusapi.operation_declarations import change as _change
from quorate.clusapi.operation_declarations import control as _control
from quorate.clusapi.operation_declarations import read as _read
from quorate.clusapi.operation_types import Access, Field, FieldType, Operation, Place
from quorate.clusapi.quorum_operations import QUORUM_OPERATIONS
from quorate.clusapi.registry_operations import REGISTRY_OPERATIONS
from quorate.clusapi.relation_operations import RELATION_OPERATIONS
from quorate.clusapi.resource_type_operations import RESOURCE_TYPE_OPERATIONS
from quorate.clusapi.user_operations import USER_OPERATIONS

_T = FieldType
_GROUP: Final = Field("group", _T.TEXT, "the group, by id or name")
_RESOURCE: Final = Field("resource", _T.TEXT, "the resource, by id or name")
_VM: Final = Field("vm", _T.TEXT, "the virtual machine: its VmId or its group's id or name")
_DESTINATION: Final = Field("destination", _T.TEXT, "the node to go to; absent: the best one", optional=True)
_FLAGS: Final = Field("flags", _T.U32, "flags of ClusAPI's …Ex function", optional=True)
_CONTEXT_BUFFER: Final = Field("in_buffer", _T.BYTES, "property list: type name = VM_RESDLL_CONTEXT", optional=True)

_OWNER_NAME: Final = Field("node", _T.TEXT, "name of the owner node")
_ANY: Final = Place.ANYWHERE
_NODE: Final = Place.GIVEN_NODE
_OF_GROUP: Final = Place.GROUP_OWNER
_OF_RESOURCE: Final = Place.RESOURCE_OWNER

_CLUSTER_OPERATIONS: Final = (
    _read(
        "GetClusterInformation",
        "Name and version of the cluster.",
        (),
        (
            Field("name", _T.TEXT, "name of the cluster"),
            Field("node", _T.TEXT, "the node that answers"),
            Field("major_version", _T.U32, "as ClusAPI counts: 10"),
            Field("minor_version", _T.U32, ""),
            Field("build_number", _T.U32, ""),
            Field("vendor", _T.TEXT, "what the cluster is"),
            Field("version", _T.TEXT, "its own version"),
            Field("highest_version", _T.U32, "the highest that every node knows: level << 16 | build", optional=True),
            Field("lowest_version", _T.U32, "the lowest that every node knows", optional=True),
            Field("version_flags", _T.U32, "1: the nodes differ in what they know", optional=True),
        ),
        _ANY,
        102,
        3,
        4,
    ),
    _read("CreateEnum", "List objects of a cluster.", (_ENUM_MASK,), (_ENTRIES,), _ANY, 7, 125),
    _control("ClusterControl", "A control code for the cluster.", (), _ANY, 106, 105),
    _read(
        "GetStatus",
        "Nodes, groups and virtual machines at one look.",
        (),
        (
            Field("cluster", _T.OBJECT, "id, name, coordinator; database: why it is of an earlier moment, if it is"),
            Field("nodes", _T.OBJECTS, "as ListNodes"),
            Field("groups", _T.OBJECTS, "as ListGroups"),
            Field("virtual_machines", _T.OBJECTS, "as ListVirtualMachines"),
            Field("networks", _T.OBJECTS, "as ListNetworks"),
        ),
        _ANY,
    ),
    _read(
        "GetEvents",
        "Events after a sequence or a moment, oldest first.",
        (
            Field("after", _T.U64, "only later ones; absent, as since: the newest", optional=True),
            Field("limit", _T.U32, "about so many at most; absent: 100", optional=True),
            Field("since", _T.TEXT, "only those of this moment (RFC 3339) or later", optional=True),
            Field("until", _T.TEXT, "only those before this moment (RFC 3339)", optional=True),
            Field("kind", _T.TEXT, 'only of this kind; "vm" is every kind of it', optional=True),
            Field(
                "object", _T.TEXT, "only about this object, by id or name; a group with its resources", optional=True
            ),
            Field("node", _T.TEXT, "only noted by this node, or about it", optional=True),
        ),
        (Field("events", _T.OBJECTS, "event records"),),
        _ANY,
    ),
    _read(
        "Validate",
        "Check the whole cluster: what would stop a virtual machine from living on.",
        (),
        (
            Field("verdict", _T.TEXT, "ok, warning or failed: the worst of all"),
            Field("findings", _T.OBJECTS, "{rule, verdict, measured, sentence, remedy} each"),
        ),
        _ANY,
    ),
    _read(
        "GetInventory",
        "Everything that decides where groups go and how long that takes, at one moment.",
        (),
        (
            Field("revision", _T.U64, "of the database"),
            Field("properties", _T.OBJECT, "those of the cluster that are numbers"),
            Field("nodes", _T.OBJECTS, "{id, name, state, status, memory} each"),
            Field("groups", _T.OBJECTS, "owner, size, rules and the measured rates of each"),
        ),
        _ANY,
    ),
)

_NODE_OPERATIONS: Final = (
    _read("GetNodeId", "Find a node.", (_CLUSTER_NODE,), (_ID, _NAME), _ANY, 48, 66, 118),
    _read("GetNodeState", "State of a node.", (_CLUSTER_NODE,), (_STATE,), _ANY, 68),
    _change(
        "PauseNode",
        "Take no new groups on a node, and move off it what it has if that is asked for.",
        (
            _CLUSTER_NODE,
            Field("drain", _T.FLAG, "move every group off it; the coordinator goes on with it", optional=True),
            Field("target", _T.TEXT, "everything goes to this node; absent: where placement says", optional=True),
            Field(
                "flags",
                _T.U32,
                "CLUSAPI_NODE_PAUSE_…: 1 what cannot move gracefully stays, 2 avoid placement, 4 try for ever",
                optional=True,
            ),
        ),
        (_STATUS,),
        _ANY,
        69,
        126,
        127,
    ),
    _change(
        "ResumeNode",
        "End a pause, a drain and a quarantine.",
        (
            _CLUSTER_NODE,
            Field(
                "failback",
                _T.U32,
                "what was drained: 0 or absent: stays where it is; 1: comes back; 2: by each group's failback policy",
                optional=True,
            ),
        ),
        (_STATUS,),
        _ANY,
        70,
        128,
    ),
    _control("NodeControl", "A control code for a node.", (_CLUSTER_NODE,), _ANY, 79, 78),
    _read("CreateNodeEnum", "List what belongs to a node.", (_CLUSTER_NODE, _ENUM_MASK), (_ENTRIES,), _ANY, 101, 124),
    _read(
        "ListNodes",
        "Every node with its state and processes.",
        (),
        (Field("nodes", _T.OBJECTS, "id, name, state, daemon pid, QEMU and monitor processes"),),
        _ANY,
    ),
    _read(
        "GetNodeReport",
        "What one node knows of itself: processes, hosted groups, machines.",
        (_CLUSTER_NODE,),
        (
            Field("processes", _T.OBJECT, "daemon pid, QEMU and monitor processes"),
            Field("groups", _T.OBJECTS, "hosted groups with the live states of their resources"),
            Field("virtual_machines", _T.OBJECTS, "hosted machines with their details"),
            Field("health", _T.OBJECT, "its clock, guard, certificates, storages", optional=True),
        ),
        _NODE,
    ),
)

_GROUP_OPERATIONS: Final = (
    _read("GetGroupId", "Find a group.", (_GROUP,), (_ID, _NAME), _ANY, 47, 41, 119),
    _read("GetGroupState", "State and owner of a group.", (_GROUP,), (_STATE, _OWNER_NAME), _OF_GROUP, 45),
    _change(
        "CreateGroup",
        "Make an empty group.",
        (Field("name", _T.TEXT, "its name"), Field("group_type", _T.U32, "CLUSGROUP_TYPE; 9999", optional=True)),
        (_ID, _NAME),
        _ANY,
        42,
        129,
    ),
    _change(
        "DeleteGroup",
        "Delete a group that holds no resource, or with all that it holds.",
        (_GROUP, Field("force", _T.FLAG, "with its resources, which must be offline", optional=True)),
        (_STATUS,),
        _OF_GROUP,
        43,
    ),
    _change(
        "OnlineGroup",
        "Bring a group online.",
        (
            _GROUP,
            Field("destination", _T.TEXT, "on this node; absent: where it is", optional=True),
            _FLAGS,
            _IN_BUFFER,
        ),
        (_STATUS,),
        _OF_GROUP,
        49,
        130,
    ),
    _change("OfflineGroup", "Take a group offline.", (_GROUP, _FLAGS, _CONTEXT_BUFFER), (_STATUS,), _OF_GROUP, 50, 131),
    _change(
        "MoveGroup",
        "Move a group to another node; a virtual machine moves as its DefaultMoveType or the context says.",
        (_GROUP, _DESTINATION, _FLAGS, _CONTEXT_BUFFER),
        (_STATUS,),
        _OF_GROUP,
        51,
        52,
        132,
        133,
    ),
    _change("CancelGroupOperation", "Cancel a move under way.", (_GROUP, _FLAGS), (_STATUS,), _OF_GROUP, 134),
    _change(
        "SetGroupNodeList",
        "Set the nodes that a group prefers, in order; none clears the list.",
        (_GROUP, Field("nodes", _T.IDS, "nodes, by id or name")),
        (_STATUS,),
        _ANY,
        54,
    ),
    _control("GroupControl", "A control code for a group.", (_GROUP,), _OF_GROUP, 77, 76),
    _read("CreateGroupResourceEnum", "List what belongs to a group.", (_GROUP, _ENUM_MASK), (_ENTRIES,), _ANY, 53),
    _read(
        "ListGroups",
        "Every group with state, owner and resources.",
        (),
        (Field("groups", _T.OBJECTS, "id, name, type, state, owner, resources"),),
        _ANY,
        143,
    ),
)

_RESOURCE_OPERATIONS: Final = (
    _read(
        "GetResourceId",
        "Find a resource.",
        (_RESOURCE,),
        (
            _ID,
            _NAME,
            Field("type", _T.TEXT, "name of its type"),
            Field("group", _T.TEXT, "id of its group"),
        ),
        _ANY,
        14,
        8,
        120,
        15,
    ),
    _read(
        "GetResourceState",
        "State, owner and group of a resource.",
        (_RESOURCE,),
        (_STATE, _OWNER_NAME, Field("group", _T.TEXT, "name of its group")),
        _OF_RESOURCE,
        12,
    ),
    _change(
        "CreateResource",
        "Add a resource to a group.",
        (
            _GROUP,
            Field("name", _T.TEXT, "its name"),
            Field("type", _T.TEXT, "name of its type"),
            Field("parameters", _T.OBJECT, "private properties to begin with: texts and numbers", optional=True),
            _FLAGS,
        ),
        (_ID, _NAME),
        _OF_GROUP,
        9,
    ),
    _change("DeleteResource", "Delete a resource that is offline.", (_RESOURCE,), (_STATUS,), _OF_RESOURCE, 10),
    _change(
        "OnlineResource",
        "Bring it online, with all that it depends on.",
        (_RESOURCE, _FLAGS, _IN_BUFFER),
        (_STATUS,),
        _OF_RESOURCE,
        17,
        135,
    ),
    _change(
        "OfflineResource",
        "Take it offline, with all that depends on it.",
        (_RESOURCE, _FLAGS, _CONTEXT_BUFFER),
        (_STATUS,),
        _OF_RESOURCE,
        18,
        136,
    ),
    _change(
        "RestartResource",
        "Take it offline and bring it online again, and with it what was online and depends on it.",
        (_RESOURCE, _FLAGS),
        (_STATUS,),
        _OF_RESOURCE,
        146,
    ),
    _change("FailResource", "Treat it as failed; the policy applies.", (_RESOURCE,), (_STATUS,), _OF_RESOURCE, 16),
    _change("AddResourceNode", "Add a possible owner of a resource.", (_RESOURCE, _CLUSTER_NODE), (_STATUS,), _ANY, 23),
    _change(
        "RemoveResourceNode",
        "Remove a possible owner of a resource; what runs there goes on.",
        (_RESOURCE, _CLUSTER_NODE),
        (_STATUS,),
        _ANY,
        24,
    ),
    _control("ResourceControl", "A control code for a resource.", (_RESOURCE,), _OF_RESOURCE, 73, 72),
    _read(
        "CreateResEnum",
        "List what a resource depends on, provides for and where it may run.",
        (_RESOURCE, _ENUM_MASK),
        (_ENTRIES,),
        _ANY,
        22,
    ),
    _control(
        "ResourceTypeControl",
        "A control code for a resource type.",
        (Field("type", _T.TEXT, "name of the type"),),
        _ANY,
        75,
        74,
    ),
    _read(
        "ListResources",
        "Every resource with type, state, group and owner.",
        (),
        (Field("resources", _T.OBJECTS, "id, name, type, state, group, owner"),),
        _ANY,
        144,
    ),
)

_VM_FACTS: Final = Field(
    "virtual_machine", _T.OBJECT, "ids, owner, states, definition, serial log, processes, progress"
)
_VM_OPERATIONS: Final = (
    _change(
        "CreateVirtualMachine",
        "Make a virtual machine: a group with its two resources.",
        (
            Field("name", _T.TEXT, "its name"),
            Field("definition", _T.OBJECT, "what it is made of"),
            Field("node", _T.TEXT, "its first owner; absent: the best one", optional=True),
        ),
        (
            Field("vm", _T.TEXT, "its VmId"),
            Field("group", _T.TEXT, "id of its group"),
            Field("vm_resource", _T.TEXT, 'id of "Virtual Machine NAME"'),
            Field("configuration_resource", _T.TEXT, 'id of "Virtual Machine Configuration NAME"'),
            Field("node", _T.TEXT, "name of its owner"),
        ),
        _ANY,
    ),
    _change(
        "DeleteVirtualMachine",
        "Delete a virtual machine that is off or saved; its disks stay.",
        (_VM, Field("turn_off", _T.FLAG, "turn it off first", optional=True)),
        (_STATUS,),
        _OF_GROUP,
    ),
    _read("GetVirtualMachine", "Everything about a virtual machine.", (_VM,), (_VM_FACTS,), _ANY),
    _read(
        "ListVirtualMachines",
        "Every virtual machine with owner and states.",
        (),
        (Field("virtual_machines", _T.OBJECTS, "as GetVirtualMachine, shorter"),),
        _ANY,
    ),
    _change("PauseVirtualMachine", "Stop its virtual CPUs; memory stays.", (_VM,), (_STATUS,), _OF_GROUP),
    _change("ResumeVirtualMachine", "Let its virtual CPUs run again.", (_VM,), (_STATUS,), _OF_GROUP),
    _read(
        "GetMigrationProgress",
        "How far its migration is.",
        (_VM,),
        (
            Field("progress", _T.OBJECT, "state, percent, phase, pass, remaining, rates, time left"),
            Field("node", _T.TEXT, "name of the owner node"),
        ),
        _OF_GROUP,
    ),
)

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        operation.name: operation
        for operation in (
            *_CLUSTER_OPERATIONS,
            *_NODE_OPERATIONS,
            *MEMBER_OPERATIONS,
            *FENCE_OPERATIONS,
            *NETWORK_OPERATIONS,
            *_GROUP_OPERATIONS,
            *_RESOURCE_OPERATIONS,
            *RESOURCE_TYPE_OPERATIONS,
            *QUORUM_OPERATIONS,
            *RELATION_OPERATIONS,
            *GROUP_SET_OPERATIONS,
            *_VM_OPERATIONS,
            *MIGRATION_OPERATIONS,
            *USER_OPERATIONS,
            *REGISTRY_OPERATIONS,
        )
    }
)
"""Every operation by its name."""

DEFAULT_OUT_SIZE: Final = 65536
MODIFY_BIT: Final = 0x00400000


def needs_full_access(operation: Operation, control_code: int | None) -> bool:
    """Answer whether a caller with read access only must be refused (status 5)."""
    if operation.access is Access.BY_CODE:
        return control_code is not None and bool(control_code & MODIFY_BIT)
    return operation.access is Access.FULL
