"""The registry and notification ports as impacket has them: its own NDR, its own seals."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.unit.server.mscmrp.face_world import PASSWORD, face_world

from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand, parse_batch
from quorate.clusapi.security_descriptors import DEFAULT_DESCRIPTOR

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120.0
MORE_DATA, NO_MORE_ITEMS = 234, 259


def test_impacket_uses_the_registry_and_is_notified() -> None:
    async def test() -> None:
        async with asyncio.timeout(LIMIT), face_world() as world:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.contract.registry_impacket"),
                *(str(world.server.port), "alice", PASSWORD),
                cwd=ROOT,
                env=os.environ | {"PYTHONWARNINGS": "ignore"},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                out, err = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
            assert process.returncode == 0, err.decode()
            check(json.loads(out))

    asyncio.run(test())


def check(told: dict[str, Any]) -> None:
    assert told["create"] == [0, 1]
    assert told["set"] == 0
    assert told["query"] == [
        [MORE_DATA, 4, "0000", 4],
        [0, 4, "4d000000", 4],
        [0, 4, "4d0000000000000000", 4],
    ]
    assert told["enum value"] == [0, "Number", "4d000000", 4]
    assert told["enum value end"] == NO_MORE_ITEMS
    assert told["enum key"] == [0, "Mine", True]
    assert told["info"] == [0, 0, 1, 6, 4]
    assert told["security"] == [0, DEFAULT_DESCRIPTOR.encode().hex()]
    assert told["batch"] == [0, 0xFFFFFFFF]
    status, data = told["read batch"]
    assert status == 0
    assert parse_batch(bytes.fromhex(data))[1] == BatchCommand(RegistryCommand.READ_VALUE, "N", 4, b"\5\0\0\0")
    assert (told["add v2"], told["get v2"], told["same id"]) == (0, [0, 1], True)
    assert told["v2"] == [21, 1, 4, "spare"]
    assert (told["add key"], told["port"]) == (0, 0)
    assert told["v1"] == [0, 22, 0x40, "Software\\Mine"]
    status, data = told["batch port"]
    assert status == 0
    assert [(one.command, one.data[0]) for one in parse_batch(bytes.fromhex(data))] == [
        (RegistryCommand.VALUE_DELETED, 77),
        (RegistryCommand.SET_VALUE, 78),
    ]
