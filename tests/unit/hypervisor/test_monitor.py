"""The control connection, against a QEMU that is played by a few lines."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.waiting import PATIENCE

from quorate.clusapi.identity import VmId
from quorate.hypervisor.qemu.monitor import Monitor

GREETING: Final = {
    "QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""}, "capabilities": []}
}
FLOOD: Final = 20_000


class LivingProcess:
    """A process that does not end."""

    is_gone = False

    async def wait_gone(self) -> None:
        await asyncio.Event().wait()


class BusyQemu:
    """Answers every command; before it answers `stop` it tells of many passes, and of a state after them."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line(GREETING))
        while chunk := await reader.read(65536):
            command = json.loads(chunk)
            if command["execute"] == "stop":
                writer.writelines(event("MIGRATION_PASS", {"pass": number}) for number in range(1, FLOOD))
                writer.write(event("MIGRATION", {"status": "completed"}))
            writer.write(line({"return": {}} | {key: value for key, value in command.items() if key == "id"}))
        writer.close()


def line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\r\n"


def event(name: str, data: Mapping[str, object]) -> bytes:
    return line({"timestamp": {"seconds": 1, "microseconds": 2}, "event": name, "data": data})


def test_a_flood_of_passes_drowns_neither_the_answer_nor_what_comes_after_it(tmp_path: Path) -> None:
    heard: list[tuple[str, object]] = []

    async def body() -> None:
        completed = asyncio.Event()

        async def on_event(name: str, data: Mapping[str, object]) -> None:
            heard.append((name, data.get("pass")))
            if name == "MIGRATION":
                completed.set()

        path = tmp_path / "qmp"
        async with await asyncio.start_unix_server(BusyQemu().serve, path):
            monitor = Monitor(VmId("vm"), path, LivingProcess(), on_event, lambda speaking, since: None)
            await monitor.connect(5.0)
            await monitor.execute("stop")
            async with asyncio.timeout(PATIENCE):
                await completed.wait()
            await monitor.close()

    asyncio.run(body())
    assert heard[:3] == [("MIGRATION_PASS", 1), ("MIGRATION_PASS", 2), ("MIGRATION_PASS", 3)]
    assert heard[-1] == ("MIGRATION", None)
    assert len(heard) < FLOOD / 20
