"""Doors between nodes, and what who knocks at them is told."""

import asyncio
import socket
from pathlib import Path

import pytest

from quorate.engine.path_probe import Door, come_in

HOST = "127.0.0.1"


@pytest.mark.parametrize("host", [HOST, None])
def test_a_way_that_lets_everything_through(tmp_path: Path, host: str | None) -> None:
    async def body() -> tuple[float | None, str]:
        door = Door()
        where = await door.open(host, tmp_path)
        kept = asyncio.create_task(door.keep())
        found = await come_in(where)
        await kept
        return found

    took, trouble = asyncio.run(body())
    assert took is not None and not trouble


def test_a_connection_that_takes_no_packets_of_full_size_is_no_way() -> None:
    with socket.create_server((HOST, 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # it takes a little, and nobody reads it
        found = asyncio.run(come_in({"host": HOST, "port": server.getsockname()[1]}))
    assert found[0] is None
    assert "MTU" in found[1]


def test_somebody_else_at_the_door(tmp_path: Path) -> None:
    async def body() -> tuple[float | None, str]:
        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail\r\n")
            writer.close()

        async with await asyncio.start_unix_server(greet, tmp_path / "door"):
            return await come_in({"path": str(tmp_path / "door")})

    assert asyncio.run(body()) == (None, "somebody else listens there")


def test_a_door_that_is_shut(tmp_path: Path) -> None:
    took, trouble = asyncio.run(come_in({"path": str(tmp_path / "none")}))
    assert took is None
    assert "No such file" in trouble
