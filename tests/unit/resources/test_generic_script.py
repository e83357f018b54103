import asyncio
import os
from pathlib import Path

import pytest
from tests.unit.hosting.fakes import MemoryProperties, MemoryRunStates, PlainGroup, PlainResource
from tests.waiting import PATIENCE

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.host import Host
from quorate.resources.generic_script import resolve_script

GROUP = PlainGroup(GroupId("g"), "scripts")
SCRIPT = ResourceId("s")
R = ResourceState
TEXT = """#!/bin/sh
echo "$1 $QUORATE_ENTRY_POINT $QUORATE_RESOURCE_NAME $QUORATE_GROUP_NAME $SECRET" >> "$(dirname "$0")/log"
test -e "$(dirname "$0")/hang-$1" && exec sleep 60
test ! -e "$(dirname "$0")/fail-$1"
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    directory = tmp_path / "scripts"
    directory.mkdir()
    script = directory / "toy.sh"
    script.write_text(TEXT)
    script.chmod(0o755)
    return directory


def test_only_executables_below_the_directory_run(scripts: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.sh"
    outside.write_text(TEXT)
    outside.chmod(0o755)
    (scripts / "link.sh").symlink_to(outside)
    (scripts / "up").symlink_to(tmp_path, target_is_directory=True)
    (scripts / "loop").symlink_to("loop")
    (scripts / "inner.sh").symlink_to("toy.sh")
    (scripts / "plain").write_text("x")
    (scripts / "open.sh").write_text(TEXT)
    (scripts / "open.sh").chmod(0o777)
    assert resolve_script(str(scripts), "toy.sh") == (scripts / "toy.sh").resolve()
    assert resolve_script(str(scripts), "inner.sh") == (scripts / "toy.sh").resolve()
    refused = {
        "": Status.ERROR_BAD_PATHNAME,
        "../outside.sh": Status.ERROR_BAD_PATHNAME,
        str(outside): Status.ERROR_BAD_PATHNAME,
        "link.sh": Status.ERROR_BAD_PATHNAME,
        "up/outside.sh": Status.ERROR_BAD_PATHNAME,
        "loop": Status.ERROR_FILE_NOT_FOUND,
        "missing": Status.ERROR_FILE_NOT_FOUND,
        ".": Status.ERROR_BAD_PATHNAME,
        "plain": Status.ERROR_ACCESS_DENIED,
        "open.sh": Status.ERROR_ACCESS_DENIED,
    }
    for name, status in refused.items():
        with pytest.raises(CallerError) as error:
            resolve_script(str(scripts), name)
        assert error.value.status == status, name
    with pytest.raises(CallerError, match="runs no scripts"):
        resolve_script("", "toy.sh")


async def set_script(host: Host, name: str) -> Status:
    data = pack_property_list(PropertyList.of([("ScriptFilepath", PropertyFormat.SZ, name)]))
    return (await host.resource_control(SCRIPT, codes.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES, data)).status


async def until(host: Host, state: R) -> None:
    async with asyncio.timeout(PATIENCE):
        while host.state(SCRIPT) != state:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_a_script_is_hosted_from_open_to_terminate(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "secret")
    log = scripts / "log"

    async def main() -> None:
        host = Host([], MemoryProperties(), MemoryRunStates(), settings={"scripts_directory": str(scripts)})
        await host.attach_group(GROUP, [PlainResource(SCRIPT, "toy", "Generic Script", GROUP.id)], {})
        try:
            assert await set_script(host, "../toy.sh") == Status.ERROR_BAD_PATHNAME
            assert await set_script(host, "toy.sh") == Status.ERROR_SUCCESS
            await host.online_resource(SCRIPT)
            await until(host, R.ONLINE)
            assert await set_script(host, "toy.sh") == Status.ERROR_RESOURCE_PROPERTIES_STORED
            (scripts / "fail-offline").touch()
            await host.offline_resource(SCRIPT)
            await host.wait_settled(GROUP.id)
            assert host.state(SCRIPT) == R.OFFLINE
            (scripts / "hang-online").touch()
            assert await host.online_resource(SCRIPT) == Status.ERROR_IO_PENDING
            assert host.state(SCRIPT) == R.ONLINE_PENDING
            await host.offline_resource(SCRIPT, 2)
            await host.wait_settled(GROUP.id)
            assert host.state(SCRIPT) == R.OFFLINE
        finally:
            await host.close()

    asyncio.run(main())
    entries = ["open", "online", "offline", "terminate", "online", "terminate"]
    assert [line.split()[0] for line in log.read_text().splitlines()] == entries
    assert log.read_text().splitlines()[0] == "open open toy scripts "


def test_when_the_daemon_dies_its_monitor_terminates_what_is_online(scripts: Path) -> None:
    log = scripts / "log"

    async def main() -> None:
        host = Host([], MemoryProperties(), MemoryRunStates(), settings={"scripts_directory": str(scripts)})
        await host.attach_group(GROUP, [PlainResource(SCRIPT, "toy", "Generic Script", GROUP.id)], {})
        await set_script(host, "toy.sh")
        await host.online_resource(SCRIPT)
        await until(host, R.ONLINE)
        os._exit(7)

    child = os.fork()
    if child == 0:
        try:
            asyncio.run(main())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    async def wait() -> None:
        async with asyncio.timeout(PATIENCE):
            while not log.read_text().splitlines()[-1].startswith("terminate"):  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    asyncio.run(wait())
