"""What a way carries: tried between two ends in this process."""

import asyncio
import json
from pathlib import Path

from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.engine.link_probe import PYTHON_LIMIT, KnownSpeeds, Sink, try_speed


async def _try(host: str | None, directory: Path) -> tuple[float | None, str]:
    sink = Sink()
    where: JsonObject = await sink.open(host, directory)
    keeping = asyncio.create_task(sink.keep())
    found = await try_speed(where)
    await keeping
    return found


def test_both_kinds_of_ways_are_tried_and_nothing_is_left(tmp_path: Path) -> None:
    for host in (None, "127.0.0.1"):
        speed, trouble = asyncio.run(_try(host, tmp_path))
        assert trouble == ""
        assert speed is not None
        assert speed > 1e6
    assert list(tmp_path.iterdir()) == []


def test_a_slow_taker_is_what_is_measured_and_not_the_sockets() -> None:
    """Whoever sends is told what has arrived: its sockets had taken megabytes more by then."""

    async def slow() -> tuple[float | None, str]:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1 << 16):
                pass
            writer.write(json.dumps({"bytes": 5_000_000, "seconds": 0.5}).encode() + b"\n")
            writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        async with server:
            return await try_speed({"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]})

    assert asyncio.run(slow()) == (1e7, "")


def test_trouble_is_told() -> None:
    assert asyncio.run(try_speed({"trouble": "no such address"})) == (None, "no such address")
    speed, trouble = asyncio.run(try_speed({"host": "127.0.0.1", "port": 1}))
    assert speed is None
    assert trouble


def test_what_a_machine_does_with_itself_is_no_link() -> None:
    speeds, node = KnownSpeeds(), NodeId("2")
    assert speeds.of(node) is None
    speeds.learn(node, 100e6, between_machines=True)
    found = speeds.of(node, younger_than=60)
    assert found is not None
    assert found.of_link
    assert speeds.of(node, younger_than=0.0) is None
    for bytes_per_second, between in ((100e6, False), (2 * PYTHON_LIMIT, True)):
        speeds.learn(node, bytes_per_second, between_machines=between)
        found = speeds.of(node)
        assert found is not None
        assert not found.of_link
