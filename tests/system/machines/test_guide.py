"""docs/guide/three-machines.md, done to the letter.

Every block of commands is taken from the page as it stands and typed into a shell of the machine that its first line
names. The machines are network namespaces with the page's own addresses and host names, each with a file system of its
own, so that no address and no path is changed. What replaces what a namespace has not:

=============================  =======================================================================================
on the page                    here
=============================  =======================================================================================
apt-get, pip, systemctl, …     the stand-ins of stand_ins.py: services are started as the units say
/srv/vms on shared storage     one directory that the three nodes see
"in a second terminal"         goes on beside the rest of its chapter; Ctrl-C at the end of that
``read -p "token: "``          is typed what the block before has printed last
"pull the plug"                everything on the machine is killed; we wait until the guest counts elsewhere
"switch it on again"           what is enabled is started
=============================  =======================================================================================
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from tests.contract.etcd_cluster import etcd_program
from tests.system.machines import stand_ins
from tests.system.machines.fabric import Fabric
from tests.system.machines.whole_machine import ROOT, WholeMachine, why_not

from quorate.hypervisor.serial_watch import SerialWatch

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

GUIDE: Final = ROOT / "docs" / "guide" / "three-machines.md"
NODES: Final = ("node1", "node2", "node3")
DESK: Final = "desk"
FIRST: Final = 11
LIMIT: Final = 120.0
NOT_YET: Final = (
    *("/etc/etcd", "/etc/default/etcd", "/var/lib/etcd", "/etc/quorate", "/var/lib/quorate", "/opt/quorate"),
    *("/usr/local/bin/quorate", "/root/.config/quorate", "/etc/quorate-etcd", "/srv/vms/*"),
)
"""What the machine that runs the test may have and a fresh one has not: taken from the machines' own files."""
_BLOCK: Final = re.compile(r"^```sh\n# on ([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of commands."""

    line: int
    chapter: int
    machines: tuple[str, ...]
    how: str
    """"together", "one after the other", "terminal", or what is done to the machine by hand."""
    script: str


def blocks(text: str) -> Iterator[Block]:
    """The blocks of the page, in order. Raises AssertionError for one that does not say where it is typed."""
    assert len(_BLOCK.findall(text)) == text.count("```sh\n") == text.count("```") // 2
    for found in _BLOCK.finditer(text):
        where, _, by_hand = found[1].partition(": ")
        where, _, how = where.partition(", in a ")
        names = tuple(re.split(r", then |, ", where))
        assert set(names) <= {*NODES, DESK}, f"no such machine: {where}"
        order = "one after the other" if ", then " in where else "together"
        terminal = "terminal" if how else ""
        line, chapter = text.count("\n", 0, found.start()) + 1, text.count("\n## ", 0, found.start())
        yield Block(line, chapter, names, by_hand or terminal or order, found[2])


class Reader:
    """Does what the page says."""

    def __init__(self, directory: Path, fabric: Fabric) -> None:
        """Have the page's machines, with nothing on them but what a fresh installation has."""
        self._directory = directory
        shared = directory / "vms"
        shared.mkdir(parents=True)
        self.machines: dict[str, WholeMachine] = {}
        self._fabric = fabric
        self._terminals: list[tuple[Block, subprocess.Popen[bytes], Path]] = []
        self._chapter = 0
        self._printed = ""
        self._shared = shared
        self.seconds: list[tuple[float, Block]] = []
        self.seen: list[str] = []
        """What was to be seen in the second terminals."""

    def install(self) -> None:
        """Make the machines."""
        for name, plain in self._fabric.machines.items():
            shared = {self._shared: "/srv/vms"} if name in NODES else {}
            self.machines[name] = WholeMachine(plain, self._directory / name, shared)
        places = {m.machine.address(): str(m.root) for m in self.machines.values()} | {"python": sys.executable}
        source = Path(stand_ins.__file__)
        for machine in self.machines.values():
            for program in stand_ins.STAND_INS:
                start = f'#!/bin/sh\nexec {sys.executable} {source} {program} "$@"\n'
                machine.install(f"/usr/local/sbin/{program}", start)
            machine.install(str(stand_ins.PLACES), json.dumps(places))
            done = machine.shell(
                f"mkdir -p /usr/src && ln -sfn {ROOT} /usr/src/quorate; rm -rf {' '.join(NOT_YET)};"
                f" [ -x /usr/bin/etcd ] || ln -s {etcd_program()} /usr/bin/etcd;"
                " id etcd >/dev/null 2>&1 || useradd --system --no-create-home etcd;"
                " install -d -o etcd -g etcd /var/lib/etcd"
            )
            assert done.returncode == 0, done.stdout

    def close(self) -> None:
        """Leave nothing behind."""
        for plain in self._fabric.machines.values():
            plain.kill_everything()
        for _, process, _ in self._terminals:
            process.wait()
        for machine in self.machines.values():
            machine.close()

    def do(self, block: Block) -> None:
        """Do what one block says."""
        if block.chapter != self._chapter:
            self.close_terminals()
        self._chapter, began = block.chapter, time.monotonic()
        match block.how:
            case "terminal":
                self._open_terminal(block)
            case "pull the plug":
                self._lose(block.machines[0])
            case "switch it on again":
                self._check(block, self.machines[block.machines[0]].shell("systemctl boot"))
            case "one after the other":
                for name in block.machines:
                    self._type(block, name)
            case "together":
                with ThreadPoolExecutor(len(block.machines)) as pool:
                    list(pool.map(lambda name: self._type(block, name), block.machines))
            case how:
                pytest.fail(f"line {block.line}: how does one {how!r}?")
        self.seconds.append((time.monotonic() - began, block))

    def _type(self, block: Block, name: str) -> None:
        typed = f"{self._printed.splitlines()[-1]}\n" if 'read -r -p "token: "' in block.script else ""
        done = self.machines[name].shell(block.script, typed=typed)
        self._check(block, done)
        self._printed = done.stdout

    def _check(self, block: Block, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode == 0, (
            f"line {block.line} of the guide failed:\n{block.script}\n{done.stdout}{self._logs()}"
        )

    def _logs(self) -> str:
        """What the services said last, for the message of a test that fails."""
        found = []
        for name, machine in self.machines.items():
            for log in sorted(Path(f"{machine.root}/var/log").glob("quorate-*.log")):
                found += [f"\n{name} {log.stem}: {line}" for line in log.read_text(errors="replace").splitlines()[-15:]]
        return "".join(found)

    def _open_terminal(self, block: Block) -> None:
        (name,) = block.machines
        log = self._directory / f"terminal{len(self._terminals)}.log"
        self._terminals.append((block, self.machines[name].spawn(block.script, log), log))

    def close_terminals(self) -> None:
        """Ctrl-C in every second terminal."""
        while self._terminals:
            block, process, log = self._terminals.pop(0)
            self.seen.append(log.read_text(encoding="utf-8"))
            assert process.poll() is None, f"line {block.line}: it ended by itself: {self.seen[-1][-2000:]}"
            process.send_signal(signal.SIGINT)
            process.wait(10)

    def _lose(self, name: str) -> None:
        """Pull the plug, and look until the guest that counts does so elsewhere."""
        logs = [Path(f"{m.root}/var/lib/quorate/vms") for n, m in self.machines.items() if n not in (name, DESK)]
        found = [directory / log.name for log in self._serial_logs(name) for directory in logs]
        with SerialWatch(*found, from_end=True) as watch:
            self.machines[name].pull_the_plug()
            assert watch.wait_beats(50, LIMIT), f"the guest runs nowhere{self._logs()}"

    def _serial_logs(self, name: str) -> list[Path]:
        return sorted(Path(f"{self.machines[name].root}/var/lib/quorate/vms").glob("*.serial.log"))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Fabric((*NODES, DESK), networks=("192.0.2",), first=FIRST) as fabric:
        made = Reader(tmp_path / "guide", fabric)
        try:
            made.install()
            yield made
        finally:
            made.close()


def test_every_command_of_the_guide(reader: Reader) -> None:
    for block in blocks(GUIDE.read_text(encoding="utf-8")):
        reader.do(block)
    before, after, events = reader.seen
    counts = [int(number) for number in re.findall(r"^Q (\d{10})$", before + after, re.MULTILINE)]
    assert counts == list(range(counts[0], counts[-1] + 1)), "the guest did not go on with the next number"
    assert "node3 is down" in events, events
    for seconds, block in sorted(reader.seconds, key=lambda one: -one[0])[:8]:
        print(f"{seconds:5.1f} s  line {block.line}, {', '.join(block.machines)}")


def test_every_path_of_the_guide_is_there() -> None:
    for name in re.findall(r"`(tests/[^`]+|docs/[^`]+|packaging/[^`]+)`", GUIDE.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name
    assert shutil.which("openssl")
