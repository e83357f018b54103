"""Calls as rpcclient 4.17 has made them, written down below the sealing, and answers that it has taken.

The first request on a connection ends in a verification trailer; it is left where it is.
"""

from typing import Any
from uuid import UUID

import pytest

from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp.cluster_methods import (
    CreateEnumIn,
    GetClusterNameOut,
    GetClusterVersion2Out,
    GetClusterVersionOut,
    GetQuorumResourceOut,
    OpenClusterOut,
)
from quorate.mscmrp.interface import METHODS
from quorate.mscmrp.resource_methods import GetResourceStateOut
from quorate.mscmrp.shapes import (
    CloseOut,
    EnumExOut,
    EnumOut,
    HandleIn,
    HandleMaskOptionsIn,
    NameIn,
    NoIn,
    OpenOut,
    StatusOut,
)
from quorate.mscmrp.types import EnumEntry, EnumList, OperationalVersion

TRAILER = (
    "8ae3137102f43671" "0100040001000000" "02402800b2b87db9634ccf11bff608002be23f2f03000000"
    "045d888aeb1cc9119fe808002b10486002000000"
)  # fmt: skip
OPENED = "00000000" "ab0d2bf2b718204ca5aa7a2d4695fb6f"  # fmt: skip
HANDLE = ContextHandle(UUID(bytes_le=bytes.fromhex(OPENED[8:])))
NULL = "00" * 20
NODES = EnumList((EnumEntry(1, "node1"), EnumEntry(1, "node2")))


def text(value: str) -> str:
    """A string as both sides write it; whatever follows is aligned by its writer."""
    count = (len(value) + 1).to_bytes(4, "little").hex()
    return f"{count}00000000{count}" + f"{value}\0".encode("utf-16-le").hex()


EXCHANGES: list[tuple[int, str, Any, str, Any]] = [
    (0, TRAILER, NoIn(), f"00000000{OPENED}", OpenClusterOut(0, HANDLE)),
    (1, OPENED, HandleIn(HANDLE), f"{NULL}00000000", CloseOut()),
    (
        3,
        TRAILER,
        NoIn(),
        f"00000200{text('foreign')}04000200{text('alpha')}00000000",
        GetClusterNameOut("foreign", "alpha"),
    ),
    (4, TRAILER, NoIn(), "000000000000" "0000" "00000000" "00000000" "78000000", GetClusterVersionOut(status=120)),
    (
        102,
        TRAILER,
        NoIn(),
        f"0a0000007c4f0000" f"00000200{text('Quorate')}04000200{text('0.1.0')}"
        "08000200" "1400000001000a0001000a000000000000000000" "0000000000000000",
        GetClusterVersion2Out(
            10, 0, 20348, "Quorate", "0.1.0", OperationalVersion(highest_version=0xA0001, lowest_version=0xA0001)
        ),
    ),
    (
        5,
        TRAILER,
        NoIn(),
        "00000200" "0100000000000000010000000000" "0000" "04000200" "0100000000000000010000000000" "0000"
        "00000000" "0000000000000000",
        GetQuorumResourceOut("", ""),
    ),
    (
        7,
        f"01000000{TRAILER}",
        CreateEnumIn(1),
        f"00000200" "02000000" "02000000" "01000000" "04000200" "01000000" "08000200"
        f"{text('node1')}{text('node2')}0000000000000000",
        EnumOut(NODES),
    ),
    (
        125,
        f"{OPENED}0100000000000000",
        HandleMaskOptionsIn(HANDLE, 1),
        "00000200" "02000000" "02000000" "01000000" "04000200" "01000000" "08000200"
        f"{text('1')}{text('2')}"
        "0c000200" "02000000" "02000000" "01000000" "10000200" "01000000" "14000200"
        f"{text('node1')}{text('node2')}0000000000000000",
        EnumExOut(EnumList((EnumEntry(1, "1"), EnumEntry(1, "2"))), NODES),
    ),
    (
        8,
        f"{text('Virtual Machine web1')}0000{TRAILER}",
        NameIn("Virtual Machine web1"),
        f"0000000000000000{OPENED}",
        OpenOut(handle=HANDLE),
    ),
    (8, f"{text('nope')}0000{TRAILER}", NameIn("nope"), f"8f13000000000000{NULL}", OpenOut(5007)),
    (11, OPENED, HandleIn(HANDLE), f"{NULL}00000000", CloseOut()),
    (
        12,
        OPENED,
        HandleIn(HANDLE),
        f"02000000" f"00000200{text('alpha')}04000200{text('SQL')}0000000000000000",
        GetResourceStateOut(2, "alpha", "SQL"),
    ),
    (17, OPENED, HandleIn(HANDLE), "0000000000000000", StatusOut()),
    (18, OPENED, HandleIn(HANDLE), "0000000000000000", StatusOut()),
    (66, f"{text('node1')}{TRAILER}", NameIn("node1"), f"0000000000000000{OPENED}", OpenOut(handle=HANDLE)),
    (69, OPENED, HandleIn(HANDLE), "0000000000000000", StatusOut()),
    (70, OPENED, HandleIn(HANDLE), "00000000c2130000", StatusOut(status=5058)),
]  # fmt: skip


@pytest.mark.parametrize(("opnum", "sent", "inputs", "told", "outputs"), EXCHANGES)
def test_what_rpcclient_sends_is_read_and_what_it_takes_is_written(
    opnum: int, sent: str, inputs: Any, told: str, outputs: Any
) -> None:
    declaration = METHODS[opnum].declaration
    value, used = declaration.inputs.read(bytes.fromhex(sent))
    assert value == inputs
    assert -used % 4 + used == len(sent.removesuffix(TRAILER)) // 2
    assert declaration.outputs.pack(outputs, declaration.inputs.values(inputs)).hex() == told
    assert declaration.outputs.unpack(bytes.fromhex(told)) == outputs
