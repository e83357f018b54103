"""The handlers of all operations, grouped by the object that they are about."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from quorate.server.call import Handler
from quorate.server.handlers import cluster, groups, machines, nodes, resources

HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        "GetClusterInformation": cluster.get_information,
        "CreateEnum": cluster.create_enum,
        "ClusterControl": cluster.control,
        "GetStatus": cluster.get_status,
        "GetEvents": cluster.get_events,
        "GetNodeId": nodes.get_id,
        "GetNodeState": nodes.get_state,
        "PauseNode": nodes.pause,
        "ResumeNode": nodes.resume,
        "NodeControl": nodes.control,
        "CreateNodeEnum": nodes.create_enum,
        "ListNodes": nodes.list_all,
        "GetNodeReport": nodes.get_report,
        "GetGroupId": groups.get_id,
        "GetGroupState": groups.get_state,
        "CreateGroup": groups.create,
        "DeleteGroup": groups.delete,
        "OnlineGroup": groups.online,
        "OfflineGroup": groups.offline,
        "MoveGroup": groups.move,
        "CancelGroupOperation": groups.cancel_operation,
        "GroupControl": groups.control,
        "SetGroupNodeList": groups.set_node_list,
        "CreateGroupResourceEnum": groups.create_enum,
        "ListGroups": groups.list_all,
        "GetResourceId": resources.get_id,
        "GetResourceState": resources.get_state,
        "CreateResource": resources.create,
        "DeleteResource": resources.delete,
        "OnlineResource": resources.online,
        "OfflineResource": resources.offline,
        "FailResource": resources.fail,
        "AddResourceNode": resources.add_node,
        "RemoveResourceNode": resources.remove_node,
        "ResourceControl": resources.control,
        "CreateResEnum": resources.create_enum,
        "ResourceTypeControl": resources.type_control,
        "ListResources": resources.list_all,
        "CreateVirtualMachine": machines.create,
        "DeleteVirtualMachine": machines.delete,
        "GetVirtualMachine": machines.get,
        "ListVirtualMachines": machines.list_all,
        "PauseVirtualMachine": machines.pause,
        "ResumeVirtualMachine": machines.resume,
        "GetMigrationProgress": machines.get_progress,
    }
)
"""One handler for each operation of the table."""
