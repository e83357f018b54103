"""The methods that are answered 120, ERROR_CALL_NOT_IMPLEMENTED, and why. The list is meant to stay short."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.mscmrp import cluster_methods as methods
from quorate.mscmrp import registry_methods
from quorate.mscmrp.method import Answered, Method
from quorate.server.mscmrp.binding import Handler, answer, handlers
from quorate.server.mscmrp.calls import WireCall

I = TypeVar("I")  # noqa: E741 - inputs
O = TypeVar("O", bound=Answered)  # noqa: E741 - outputs

_OF_THE_PROTOCOL: Final = "a server of version 3.0 answers so, always"

REASONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        methods.GET_CLUSTER_VERSION.opnum: f"{_OF_THE_PROTOCOL}: GetClusterVersion2 tells",
        methods.BACKUP_CLUSTER_DATABASE.opnum: f"{_OF_THE_PROTOCOL}: `quorate cluster backup` does it",
        methods.SET_SERVICE_ACCOUNT_PASSWORD.opnum: f"{_OF_THE_PROTOCOL}: the daemons have no account with a password",
        methods.STM_FIND_DISK.opnum: "disks are files of virtual machines here, and no objects of the cluster",
        registry_methods.QUERY_ALL_VALUES.opnum: "how its answer is laid out is not known: EnumValue tells the same",
        methods.CLUSTER_MRR.opnum: "it carries calls among nodes of a Windows cluster; ours have a door of their own",
    }
)
"""Why a method is not answered, by its number."""


def _refuses(method: Method[I, O]) -> Handler:
    async def refuse(wire: WireCall, inputs: I) -> O:
        raise CallerError(Status.ERROR_CALL_NOT_IMPLEMENTED, f"{method.name}: {REASONS[method.opnum]}")

    return answer(method, refuse)


HANDLERS: Final[Mapping[int, Handler]] = handlers(
    _refuses(methods.GET_CLUSTER_VERSION),
    _refuses(methods.BACKUP_CLUSTER_DATABASE),
    _refuses(methods.SET_SERVICE_ACCOUNT_PASSWORD),
    _refuses(methods.STM_FIND_DISK),
    _refuses(methods.CLUSTER_MRR),
    _refuses(registry_methods.QUERY_ALL_VALUES),
)
