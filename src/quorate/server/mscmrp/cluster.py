"""The methods on the cluster itself."""

from collections.abc import Mapping
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.mscmrp import cluster_methods as methods
from quorate.mscmrp.cluster_methods import (
    CreateEnumIn,
    GetClusterNameOut,
    GetClusterVersion2Out,
    GetQuorumResourceOut,
    OpenClusterExIn,
    OpenClusterExOut,
    OpenClusterOut,
    SetQuorumResourceIn,
)
from quorate.mscmrp.shapes import EnumExOut, EnumOut, HandleMaskOptionsIn, NameIn, NoIn, StatusOut
from quorate.mscmrp.types import OperationalVersion
from quorate.server.mscmrp import patterns
from quorate.server.mscmrp.access import GrantedAccess, all_access, granted
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import Inputs, WireCall
from quorate.server.mscmrp.handles import OpenCluster, OpenResource
from quorate.server.mscmrp.patterns import enum_ex_out, enum_out, status_out


async def open_cluster(wire: WireCall, inputs: NoIn) -> OpenClusterOut:
    """Open it for everything."""
    cluster = await _cluster(wire, all_access(wire.caller))
    return OpenClusterOut(handle=wire.open(cluster))


async def open_cluster_ex(wire: WireCall, inputs: OpenClusterExIn) -> OpenClusterExOut:
    """Open it for what is asked for."""
    access = granted(inputs.desired_access, wire.caller)
    cluster = await _cluster(wire, access)
    return OpenClusterExOut(granted_access=access, handle=wire.open(cluster))


async def set_name(wire: WireCall, inputs: NameIn) -> StatusOut:
    """Rename it; the answer is 5024, as if a network name had to go online again."""
    return status_out(await wire.ask("SetClusterName", {"name": inputs.name}))


async def get_name(wire: WireCall, inputs: NoIn) -> GetClusterNameOut:
    """Tell its name, and which node answers."""
    told = await wire.ask("GetClusterInformation", {})
    return GetClusterNameOut(told.text("name"), told.text("node"))


async def get_version(wire: WireCall, inputs: NoIn) -> GetClusterVersion2Out:
    """Tell the versions as ClusAPI counts them; our own is where others have their service pack."""
    told = await wire.ask("GetClusterInformation", {})
    highest, lowest, flags = (
        told.optional_number(name) or 0 for name in ("highest_version", "lowest_version", "version_flags")
    )
    return GetClusterVersion2Out(
        told.number("major_version"),
        told.number("minor_version"),
        told.number("build_number"),
        told.text("vendor"),
        told.text("version"),
        OperationalVersion(highest_version=highest, lowest_version=lowest, flags=flags),
    )


async def get_quorum_resource(wire: WireCall, inputs: NoIn) -> GetQuorumResourceOut:
    """Tell the quorum resource."""
    told = await wire.ask("GetQuorumResource", {})
    return GetQuorumResourceOut(told.text("resource"), told.text("device"), told.number("max_log_size"))


async def set_quorum_resource(wire: WireCall, inputs: SetQuorumResourceIn) -> StatusOut:
    """Make a resource the quorum resource."""
    it = wire.find(inputs.handle, OpenResource)
    asked: Inputs = {"resource": it.id, "device": inputs.device_name, "max_log_size": inputs.max_log_size}
    return status_out(await wire.ask("SetQuorumResource", asked, it))


async def create_enum(wire: WireCall, inputs: CreateEnumIn) -> EnumOut:
    """List objects by name; the types may be combined."""
    return enum_out(await wire.ask("CreateEnum", {"mask": inputs.mask}))


async def create_enum_ex(wire: WireCall, inputs: HandleMaskOptionsIn) -> EnumExOut:
    """List objects by id and by name."""
    it = wire.find(inputs.handle, OpenCluster)
    check_options(inputs.options)
    return enum_ex_out(await wire.ask("CreateEnum", {"mask": inputs.mask}, it))


def check_options(options: int) -> None:
    """Refuse options of an enumeration: there are none. Raises CallerError 87."""
    if options:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"options {options:#x}: they are reserved and must be 0")


async def _cluster(wire: WireCall, access: GrantedAccess) -> OpenCluster:
    told = await wire.ask("GetClusterInformation", {})
    return OpenCluster(access, "", told.text("name"))


HANDLERS: Final[Mapping[int, Handler]] = handlers(
    answer(methods.OPEN_CLUSTER, open_cluster),
    answer(methods.CLOSE_CLUSTER, patterns.closes(OpenCluster)),
    answer(methods.SET_CLUSTER_NAME, set_name),
    answer(methods.GET_CLUSTER_NAME, get_name),
    answer(methods.GET_QUORUM_RESOURCE, get_quorum_resource),
    answer(methods.SET_QUORUM_RESOURCE, set_quorum_resource),
    answer(methods.CREATE_ENUM, create_enum),
    answer(methods.GET_CLUSTER_VERSION2, get_version),
    answer(methods.NODE_CLUSTER_CONTROL, patterns.controls_at_node(OpenCluster, "ClusterControl", "")),
    answer(methods.CLUSTER_CONTROL, patterns.controls(OpenCluster, "ClusterControl", "")),
    answer(methods.OPEN_CLUSTER_EX, open_cluster_ex),
    answer(methods.CREATE_ENUM_EX, create_enum_ex),
)
