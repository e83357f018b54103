"""DCE/RPC between us and programs that others have written: Samba's rpcclient, and impacket as client and as server."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.dcerpc.world import ECHO, OPEN_ECHO, OPNUMS, SAY, SayOut, World, run, serving

from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.errors import RpcFault
from quorate.dcerpc.security import AuthLevel

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 120.0
RPCCLIENT = shutil.which("rpcclient")
needs_rpcclient = pytest.mark.skipif(RPCCLIENT is None, reason="needs Debian's package smbclient")
UUID, VERSION = str(ECHO.uuid), "3.1"
OPEN_UUID = str(OPEN_ECHO.uuid)


def in_own_network(commands: list[list[str]]) -> dict[str, Any]:
    """Run commands on a machine of their own that serves DCE/RPC, see dcerpc_host."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m", "tests.contract.dcerpc_host"],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def rpcclient(binding: str, command: str, *options: str, password: str = "secret") -> list[str]:
    assert RPCCLIENT is not None
    user = ["-U", f"alice%{password}"]
    return [RPCCLIENT, "--configfile=/dev/null", *options, f"ncacn_ip_tcp:127.0.0.1{binding}", *user, "-c", command]


GOOD_BINDINGS = ("[seal]", "[seal,spnego]", "[seal,ntlm]", "[seal,bigendian]")
POOR_BINDINGS = {"": 0, "[connect]": 2, "[packet]": 4, "[sign]": 5, "[sign,spnego]": 5}


@needs_rpcclient
def test_rpcclient_is_let_in_sealed_and_in_no_other_way() -> None:
    commands = [rpcclient(binding, "clusapi_open_cluster") for binding in (*GOOD_BINDINGS, *POOR_BINDINGS)]
    commands.append(rpcclient("[seal]", "clusapi_get_cluster_name"))  # an operation that there is not
    commands.append(rpcclient("[seal]", "clusapi_open_cluster", password="wrong"))
    commands.append(rpcclient("[seal,spnego]", "clusapi_open_cluster", password="wrong"))
    commands.append(rpcclient("[seal]", "clusapi_open_cluster", "--option=clientntlmv2auth=no"))
    answer = in_own_network(commands)
    results = answer["results"]
    for binding, result in zip(GOOD_BINDINGS, results, strict=False):
        assert result["code"] == 0, (binding, result)
        assert "successfully opened cluster" in result["output"]
        assert result["logons"] == [["alice", AuthLevel.PRIVACY, True, "let in"]]
    at = len(GOOD_BINDINGS)
    for (binding, level), result in zip(POOR_BINDINGS.items(), results[at:], strict=False):
        assert (result["code"], "ACCESS_DENIED" in result["output"]) == (1, True), (binding, result)
        assert [item[1] for item in result["logons"]] == ([level] if level else [])
    unknown, wrong, wrong_spnego, ntlmv1 = results[at + len(POOR_BINDINGS) :]
    assert "DOS code 0x0000002e" in unknown["output"], unknown
    for result in (wrong, wrong_spnego):
        assert "ACCESS_DENIED" in result["output"], result
        assert "wrong" in result["logons"][0][3]
    assert "NTLMv1" in ntlmv1["logons"][0][3], ntlmv1
    assert (answer["connections"], answer["handles"]) == (0, 0)


@needs_rpcclient
def test_rpcclient_lists_the_endpoints_to_their_end() -> None:
    (result,) = in_own_network([rpcclient("", "epmlookup", "-N")])["results"]
    listed = [line for line in result["output"].splitlines() if "ncacn_ip_tcp:127.0.0.1[" in line]
    assert len(listed) == 3, result
    assert f"abstract_syntax={UUID}/0x00000003]: echo" in listed[2]
    assert "no more entries" in result["output"]


@needs_rpcclient
def test_impacket_finds_an_interface_by_the_mapper() -> None:
    peer = [sys.executable, "-m", "tests.contract.dcerpc_impacket", "lookup", "127.0.0.1", UUID, "3.0"]
    (result,) = in_own_network([peer])["results"]
    answer = json.loads(result["output"].splitlines()[-1])
    assert answer["found"].startswith("ncacn_ip_tcp:127.0.0.1[")
    assert answer["found"] in answer["listed"]
    assert len(answer["listed"]) == 3
    assert "0x16c9a0d6" in answer["missing"]


# --- Impacket ------------------------------------------------------------------------------------------------------


async def impacket_calls(port: int, uuid: str, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    version = VERSION if uuid == UUID else "1.0"
    arguments = ["-W", "ignore", "-m", "tests.contract.dcerpc_impacket", "client", str(port), uuid, version]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, json.dumps(orders), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(LIMIT):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    answer: list[dict[str, Any]] = json.loads(output.splitlines()[-1])
    return answer


@pytest.mark.parametrize("level", [1, 2, 5, 6])  # it agrees to level 4, and then does not sign
def test_impacket_calls_at_every_level(level: int) -> None:
    async def test() -> None:
        async with serving(World()) as server:
            sizes = ((0, 0), (1, 0), (10_000, 0), (10_000, 1000), (150_000, 0))
            orders: list[dict[str, Any]] = [
                {"level": level, "opnum": 4, "data": "00010203", "times": times, "fragment": fragment, "calls": 2}
                for times, fragment in sizes
            ]
            answers = await impacket_calls(server.port, OPEN_UUID, orders)
            expected = [{"lengths": [4 * times], "same": True} for times, _ in sizes]
            assert [{key: answer.get(key) for key in ("lengths", "same")} for answer in answers] == expected, answers

    run(test, LIMIT)


def test_impacket_is_refused_where_it_should_be() -> None:
    async def test() -> None:
        world = World()
        async with serving(world) as server:
            answers = await impacket_calls(
                server.port,
                UUID,
                [
                    {"level": 6, "opnum": 4, "data": "00"},
                    *({"level": level, "opnum": 4, "data": "00"} for level in (1, 2, 5)),
                    {"level": 6, "opnum": 4, "password": "wrong"},
                    {"level": 6, "opnum": 4, "user": "nobody"},
                    {"level": 6, "opnum": 4, "user": "", "password": ""},
                    {"level": 6, "opnum": 77},
                    {"level": 6, "opnum": 0, "data": "ffffffff"},
                ],
            )
            assert answers[0]["same"]
            assert all("access_denied" in answer["error"].lower() for answer in answers[1:7]), answers
            assert "nca_s_op_rng_error" in answers[7]["error"]
            assert "1783" in answers[8]["error"] or "bad_stub_data" in answers[8]["error"].lower(), answers[8]

    run(test, LIMIT)


@contextmanager
def impacket_server(uuid: str, version: str) -> Iterator[int]:
    arguments = ["-W", "ignore", "-m", "tests.contract.dcerpc_impacket", "server", uuid, version]
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def test_we_call_a_server_of_impackets() -> None:
    async def test() -> None:
        with impacket_server(OPEN_UUID, "1.0") as port:
            client = await RpcClient.connect("127.0.0.1", port)
            try:
                await client.bind(OPEN_ECHO)
                assert (await client.call(OPNUMS["bytes"], b"four")).data == b"four"
                answer = await client.call(0, SAY.outputs.pack(SayOut("said", 0)))
                assert SAY.outputs.unpack(answer.data) == SayOut("said", 0)
                with pytest.raises(RpcFault):
                    await client.call(55, b"")
            finally:
                await client.close()

    run(test, LIMIT)
