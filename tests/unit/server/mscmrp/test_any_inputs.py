"""Every method that does not wait gets well-formed nonsense on good handles: it answers, and none of them breaks."""

from dataclasses import fields, replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.mscmrp.strategies import parameters_of
from tests.unit.server.mscmrp.face_world import FaceWorld, WireUser, with_face

from quorate.dcerpc.errors import FaultCode, RpcFault
from quorate.dcerpc.ndr import NULL_HANDLE, ContextHandle
from quorate.mscmrp.group_methods import OPEN_GROUP
from quorate.mscmrp.group_set_methods import CREATE_GROUP_SET
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.interface import METHODS, AnyMethod
from quorate.mscmrp.node_methods import OPEN_NODE
from quorate.mscmrp.notify_methods import CREATE_NOTIFY
from quorate.mscmrp.registry_methods import CREATE_BATCH_PORT, GET_ROOT_KEY, GetRootKeyIn
from quorate.mscmrp.resource_methods import OPEN_RESOURCE
from quorate.mscmrp.shapes import HandleIn, NoIn

TRIED = [method for _, method in sorted(METHODS.items()) if not method.is_blocking]
INPUTS = st.tuples(*(parameters_of(method.declaration.inputs) for method in TRIED))


async def opened(user: WireUser, kind: HandleKind) -> ContextHandle:
    match kind:
        case HandleKind.CLUSTER:
            return await user.cluster()
        case HandleKind.NODE:
            return await user.open(OPEN_NODE, "node2")
        case HandleKind.GROUP | HandleKind.ANY:
            return await user.open(OPEN_GROUP, "web1")
        case HandleKind.RESOURCE:
            return await user.open(OPEN_RESOURCE, "Virtual Machine web1")
        case HandleKind.GROUP_SET:
            return await user.open(CREATE_GROUP_SET, "first")
        case HandleKind.NOTIFY:
            return (await user.ask(CREATE_NOTIFY, NoIn())).handle
        case HandleKind.KEY:
            return (await user.ask(GET_ROOT_KEY, GetRootKeyIn(0xF003F))).handle
        case HandleKind.BATCH_PORT:
            key = await opened(user, HandleKind.KEY)
            return (await user.ask(CREATE_BATCH_PORT, HandleIn(key))).handle
        case HandleKind.NETWORK | HandleKind.NET_INTERFACE:
            return NULL_HANDLE  # the fake cluster has none


async def answer(user: WireUser, method: AnyMethod, inputs: Any, handles: dict[HandleKind, ContextHandle]) -> int:
    """The status of a call with good handles, or the code of its fault."""
    names = [item.name for item in fields(inputs) if isinstance(getattr(inputs, item.name), ContextHandle)]
    good = {name: handles[kind] for name, kind in zip(names, method.takes, strict=True)}
    try:
        return int((await user.ask(method, replace(inputs, **good))).status)
    except RpcFault as fault:
        return fault.code


@given(every=INPUTS)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_fits_its_declaration_breaks_a_method(every: tuple[Any, ...]) -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            handles = {kind: await opened(user, kind) for kind in HandleKind}
            for method, inputs in zip(TRIED, every, strict=True):
                if method.name.startswith("Close"):
                    continue
                status = await answer(user, method, inputs, handles)
                assert status not in (FaultCode.UNSPECIFIED, FaultCode.BAD_STUB_DATA), (method.name, inputs)

    with_face(test)
