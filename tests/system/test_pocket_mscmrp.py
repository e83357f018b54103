"""Where a pocket cluster speaks MS-CMRP: nowhere unless asked for, then at every start; refused where it cannot be."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.machines.fabric import Fabric, Machine
from tests.system.pocket_cluster import PocketCluster
from tests.system.shell import COMMAND
from tests.system.wire_cluster import FIRST_PORT, HOST, why_no_wire

pytestmark = pytest.mark.skipif(why_no_wire() is not None, reason=str(why_no_wire()))


class Typed:
    """Commands on a machine of its own, about a pocket cluster of one node."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self.machine = machine
        self.directory = directory

    def quorate(self, *arguments: str, code: int = 0) -> str:
        done = self.machine.run([*COMMAND, *arguments], env={"QUORATE_CLUSTER": str(self.directory)})
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def listens(self) -> set[int]:
        """The ports that somebody listens at there."""
        lines = self.machine.run(["ss", "-Htln"]).stdout.splitlines()
        return {int(line.split()[3].rpartition(":")[2]) for line in lines}


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Typed]:
    with Fabric(["pocket"]) as fabric:
        cluster = PocketCluster(tmp_path / "pc", 1)
        try:
            yield Typed(fabric["pocket"], cluster.directory)
        finally:
            cluster.end()


def test_it_is_off_until_it_is_asked_for_and_then_kept(typed: Typed) -> None:
    assert "MS-CMRP" not in typed.quorate("up", "--nodes", "1")
    assert typed.listens() == set()
    place = f"{HOST}:{FIRST_PORT}"
    assert "take it down first" in typed.quorate("up", "--mscmrp", place, code=1)
    typed.quorate("up", "--mscmrp", "off")
    typed.quorate("down", "--yes")

    facts = json.loads(typed.quorate("up", "--mscmrp", place, "--endpoint-mapper", "--json"))
    assert facts["mscmrp"] == {"1": place}
    assert typed.listens() == {FIRST_PORT, 135}
    typed.quorate("up", "--mscmrp", place, "--endpoint-mapper")
    assert "take it down first" in typed.quorate("up", "--mscmrp", place, code=1)
    typed.quorate("down", "--yes")

    assert f"MS-CMRP is spoken at {place}" in typed.quorate("up")
    assert typed.listens() == {FIRST_PORT, 135}
    assert "take it down first" in typed.quorate("up", "--mscmrp", "off", code=1)


def test_an_address_that_somebody_has_is_refused_before_anything_starts(typed: Typed) -> None:
    program = f"import signal, socket; held = socket.create_server(('{HOST}', {FIRST_PORT})); signal.pause()"
    holder = typed.machine.spawn([COMMAND[0], "-c", program], typed.directory.parent / "log")
    try:
        deadline = time.monotonic() + 60
        while typed.listens() != {FIRST_PORT}:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        said = typed.quorate("up", "--nodes", "1", "--mscmrp", f"{HOST}:{FIRST_PORT}", code=3)
        assert f"MS-CMRP cannot be spoken at {HOST}:{FIRST_PORT}: Address already in use" in said
        assert typed.machine.pids_of("quorate.service") == ()
        said = typed.quorate("up", "--nodes", "1", "--mscmrp", "192.0.2.1:1", code=3)
        assert "Cannot assign requested address" in said
    finally:
        holder.kill()
        holder.wait()


def test_what_makes_no_sense_is_refused(typed: Typed) -> None:
    assert "give --mscmrp too" in typed.quorate("up", "--endpoint-mapper", code=2)
    assert "is no address" in typed.quorate("up", "--mscmrp", "here", code=2)
    assert not typed.directory.exists()
