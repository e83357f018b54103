"""What a call over MS-CMRP costs: sealed calls a second of impacket's, beside a bare echo and the same by HTTP."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.system.pocket_cluster import PocketCluster

from bench.machine import wait_quiet
from bench.small import Figure
from bench.wire_echo import ECHO, PASSWORD, USER
from quorate.client.blocking import BlockingClient
from quorate.mscmrp.group_methods import GET_GROUP_STATE, OPEN_GROUP, GetGroupStateOut
from quorate.mscmrp.interface import SYNTAX
from quorate.mscmrp.shapes import NameIn
from quorate.service import pocket

RATIO: Final = 0.7
"""What we reach at least of the echo server's calls a second."""
CALLS: Final = 300
_GROUP: Final = "Cluster Group"
_ANSWER: Final = GetGroupStateOut(0, "node1")


def measure(directory: Path, blocks: int, patience: float) -> tuple[Figure, ...]:
    """Measure on a pocket cluster of one node, made for it; ``blocks`` of calls of each kind in turns."""
    cluster = PocketCluster(directory, nodes=1)
    try:
        pocket.start(directory, 1, f"127.0.0.1:{_free_port()}")
        cluster.client = BlockingClient.at(str(directory))
        cluster.call("AddUserAccount", name=USER, role="full", password=PASSWORD)
        (settings,) = pocket.mscmrp_places(directory).values()
        wait_quiet(patience)
        with _echo_server(len(GET_GROUP_STATE.declaration.outputs.pack(_ANSWER, {}))) as echo_port:
            echo, ours = _call(echo_port, settings.listen.port, blocks)
        by_http = _call_http(cluster, blocks)
    finally:
        cluster.end()
    ratios = tuple(full / bare for bare, full in zip(echo, ours, strict=True))
    return (
        Figure("wire echo", "sealed calls a second of a bare echo server", "/s", tuple(echo), None, True),
        Figure("wire", "sealed calls a second of MS-CMRP: GetGroupState", "/s", tuple(ours), None, True),
        Figure("wire http", "the same by HTTP, on the node's socket", "/s", tuple(by_http), None, True),
        Figure("wire ratio", "MS-CMRP to the bare echo", "×", ratios, RATIO, True),
    )


def _call(echo_port: int, our_port: int, blocks: int) -> tuple[list[float], list[float]]:
    opening = (OPEN_GROUP.opnum, OPEN_GROUP.declaration.inputs.pack(NameIn(_GROUP)).hex())
    order = {
        "calls": CALLS,
        "blocks": blocks,
        "targets": [
            {"port": echo_port, "uuid": str(ECHO.uuid), "version": "1.0", "opnum": 0, "data": bytes(20).hex()},
            {
                "port": our_port,
                "uuid": str(SYNTAX.uuid),
                "version": "3.0",
                "opnum": GET_GROUP_STATE.opnum,
                "open": opening,
            },
        ],
    }
    command = [sys.executable, "-W", "ignore", "-m", "bench.wire_caller", json.dumps(order)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    echo, ours = json.loads(done.stdout.splitlines()[-1])
    return echo, ours


def _call_http(cluster: PocketCluster, blocks: int) -> list[float]:
    """One connection that is kept, as theirs are."""
    connection = _Connection(_socket_of(cluster))
    body, rates = json.dumps({"group": _GROUP}), []
    for _ in range(blocks):
        begun = time.perf_counter()
        for _ in range(CALLS):
            connection.request("POST", "/v1/GetGroupState", body)
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"GetGroupState was answered {answer.status}")
        rates.append(CALLS / (time.perf_counter() - begun))
    connection.close()
    return rates


def _socket_of(cluster: PocketCluster) -> str:
    described = json.loads((cluster.directory / "cluster.json").read_text(encoding="utf-8"))
    return str(described["nodes"][0]["http"])


class _Connection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("node")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


@contextmanager
def _echo_server(size: int) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.wire_echo", str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.communicate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
