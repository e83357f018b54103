"""The guide's table of methods is made from what is bound, and a server answers as it says."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.unit.server.mscmrp.face_world import FaceWorld, WireUser, with_face
from tests.unit.server.mscmrp.plain_inputs import inputs_of, make_objects, open_all

from quorate.clusapi.status import Status
from quorate.dcerpc.errors import RpcFault
from quorate.mscmrp.handles import HandleKind
from quorate.mscmrp.interface import LAST_OPNUM, METHODS, RESERVED, AnyMethod
from quorate.server.mscmrp.reference import ALWAYS_REFUSED, rewritten, state_of
from quorate.server.mscmrp.unanswered import REASONS

ROOT = Path(__file__).resolve().parents[4]
GUIDE = ROOT / "docs" / "guide" / "clusapi.md"
_TAKE_AWAY = ("Close", "Delete", "Evict")


async def _status(user: WireUser, method: AnyMethod, inputs: Any) -> object:
    try:
        async with asyncio.timeout(0.1 if method.is_blocking else None):
            return await user.status(method, inputs)
    except TimeoutError:
        return "waits"
    except RpcFault as fault:
        return fault


def test_the_guide_has_the_table_of_now() -> None:
    page = GUIDE.read_text(encoding="utf-8")
    assert rewritten(page) == page, "python -m quorate.server.mscmrp.reference docs/guide/clusapi.md"
    with pytest.raises(ValueError, match="no place"):
        rewritten("nothing")


def test_the_architecture_tells_every_method_that_is_not_answered() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for opnum, reason in REASONS.items():
        assert f"| {opnum} | {METHODS[opnum].name} | {reason} |" in page


def test_every_number_has_a_state() -> None:
    states = {opnum: state_of(opnum) for opnum in range(LAST_OPNUM + 1)}
    assert {opnum for opnum, state in states.items() if state == "reserved"} == RESERVED
    assert "not bound" not in states.values()
    assert len(REASONS) < 10, "the list is meant to stay short"


def test_a_server_answers_as_the_table_says() -> None:
    async def test(world: FaceWorld) -> None:
        await make_objects(world)
        told: dict[int, object] = {}
        async with world.user() as user:
            handles = await open_all(user)
            for method in sorted(METHODS.values(), key=lambda method: method.name.startswith(_TAKE_AWAY)):
                if method.name.startswith(_TAKE_AWAY):
                    handles = {**handles, **await open_all(user, of_all_kinds=False)}
                given = [handles.get(kind, handles[HandleKind.CLUSTER]) for kind in method.takes]
                told[method.opnum] = await _status(user, method, inputs_of(method, given))
        assert {opnum for opnum, status in told.items() if status == 120} == set(REASONS)
        for opnum, (status, _) in ALWAYS_REFUSED.items():
            assert told[opnum] in {status, Status.ERROR_RESOURCE_NOT_FOUND}
        done = [opnum for opnum, status in told.items() if status in {0, 997}]
        assert len(done) > 70, "with the plainest inputs; others are refused for those"

    with_face(test)
