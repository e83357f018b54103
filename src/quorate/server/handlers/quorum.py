"""Operations on quorum resources and shared volumes, of which this cluster has none."""

from typing import NoReturn

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.operation_values import Values
from quorate.clusapi.status import Status
from quorate.server import lookup
from quorate.server.call import Call


async def get_resource(call: Call) -> Values:
    """None: a majority of the database's members decides, and no resource votes."""
    return Values({"resource": "", "device": "", "max_log_size": 0})


async def set_resource(call: Call) -> NoReturn:
    """Refuse. Raises RefusalError 5021, CallerError 5007 for a resource that is not there."""
    info = lookup.resource(call.snapshot, call.inputs.text("resource"))
    raise RefusalError(
        Status.ERROR_NOT_QUORUM_CAPABLE,
        f'"{info.name}" cannot be the quorum resource: the quorum of this cluster is that of its database; '
        "add members to etcd, or take some away, to change it",
    )


async def change_csv_state(call: Call) -> NoReturn:
    """Refuse. Raises RefusalError 5964, CallerError 5007 for a resource that is not there, 87 for no state."""
    info, state = lookup.resource(call.snapshot, call.inputs.text("resource")), call.inputs.number("state")
    if state > 1:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"state is {state}: 1 makes a shared volume, 0 takes it back")
    raise RefusalError(
        Status.ERROR_DISK_NOT_CSV_CAPABLE,
        f'"{info.name}" is no disk: storages that every node sees are named in the configuration of the nodes',
    )
