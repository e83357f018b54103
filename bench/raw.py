"""Migrations as people make them by hand with QMP: with QEMU's defaults, and with the limit of its bandwidth lifted.

QEMU decides itself when to stop the guest (its downtime limit stays at 300 ms) and starts it on the destination by
itself. Memory takes one stream through a unix socket, as it takes a unix socket with quorate when both nodes are one
machine. The machine, the guest and QEMU's options are those that quorate uses.
"""

import json
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.guests import Workload, launch_request, touched_memory
from bench.measured import Migration, Observer, Told
from quorate.clusapi.identity import VmId
from quorate.clusapi.json_types import JsonObject, json_int, json_object
from quorate.hypervisor.builtin_guest import build_rom
from quorate.hypervisor.contract import Fresh, Incoming, Launch, VmPaths
from quorate.hypervisor.pinned import Pinned
from quorate.hypervisor.qemu.arguments import HostSide, build_arguments
from quorate.hypervisor.qemu.process import listening_socket, spawn

UNLIMITED: Final = 1 << 40
"""Bytes per second; QEMU's default is 128 MiB/s."""
DEFAULTS: Final = "raw defaults"
TUNED: Final = "raw tuned"
WAYS: Final = (DEFAULTS, TUNED)
CUT: Final = 30.0
"""Seconds from the request after which a guest that has not been stopped is given up."""
_PATIENCE: Final = 60.0
_AT_ONCE: Final = 0.001
_PIECE: Final = 1 << 16


class Qmp:
    """One control connection; commands and events one after another."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._received = b""
        self._events: list[JsonObject] = []
        self._read()
        self.execute("qmp_capabilities")

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> JsonObject:
        """Run a command; give what it returns."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments or {}}).encode())
        while "return" not in (answer := self._read()):
            if "error" in answer:
                raise RuntimeError(f"QEMU refused {command}: {answer['error']}")
            self._events.append(answer)
        return json_object(answer, "return") if isinstance(answer["return"], dict) else {}

    def wait_event(self, name: str, status: str = "", until: float | None = None) -> float:
        """Wait for an event (of that status), or find it among those that came; give its moment.

        Raises TimeoutError when it has not come ``until`` then, of time.monotonic().
        """
        looked_at = 0
        while True:
            if looked_at == len(self._events):
                self._events.append(self._read(until))
            event = self._events[looked_at]
            looked_at += 1
            found = json_object(event, "data").get("status", "") if "data" in event else ""
            if event.get("event") == name and found == "failed":
                raise RuntimeError("the migration failed")
            if event.get("event") == name and status in ("", found):
                return _moment(json_object(event, "timestamp"))

    def capabilities(self, **states: bool) -> None:
        """Turn capabilities of a migration on or off."""
        listed = [{"capability": name.replace("_", "-"), "state": state} for name, state in states.items()]
        self.execute("migrate-set-capabilities", {"capabilities": listed})

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self, until: float | None = None) -> JsonObject:
        while b"\n" not in self._received:
            self._socket.settimeout(_PATIENCE if until is None else max(_AT_ONCE, until - time.monotonic()))
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise RuntimeError("QEMU has ended")
            self._received += piece
        line, _, self._received = self._received.partition(b"\n")
        answer: JsonObject = json.loads(line)
        return answer


@dataclass(slots=True)
class Side:
    """One QEMU."""

    paths: VmPaths
    log: Path
    pid: int
    pidfd: int
    qmp: Qmp


@dataclass(frozen=True, slots=True)
class RawMigrations:
    """Makes raw migrations of one guest; each has QEMUs of its own."""

    workload: Workload
    pinned: Pinned
    directory: Path
    runtime: Path
    binary: str = field(default_factory=lambda: shutil.which("qemu-system-x86_64") or "")

    def run(self, way: str, number: int, busy: float) -> Migration:
        """Migrate once, with QEMU's defaults or tuned."""
        vm_id = VmId(str(uuid.uuid4()))
        with touched_memory(self.workload.memory_bytes) as free, self._side("source", vm_id, Fresh()) as source:
            source.qmp.execute("cont")
            destination_paths = self._paths("destination")
            log = destination_paths.serial_log(vm_id)
            with Observer(source.log, log, source.pidfd, busy) as observer:
                observer.settle()
                free()
                until = observer.request() + CUT
                with self._side("destination", vm_id, Incoming(prefault=False)) as destination:
                    try:
                        told = self._migrate(source, destination, way, until)
                    except TimeoutError:
                        return observer.cut(self.workload.name, way, number, CUT, _sent(source, {}))
                    return observer.result(self.workload.name, way, number, lambda: told)

    @contextmanager
    def waiting(self) -> Iterator[Side]:
        """Have a QEMU with the guest loaded, whose vCPUs have not started yet."""
        with self._side("alone", VmId(str(uuid.uuid4())), Fresh()) as side:
            yield side

    def _migrate(self, source: Side, destination: Side, way: str, until: float) -> Told:
        destination.qmp.capabilities(events=True)
        uri = f"unix:{destination.paths.runtime / 'migration'}"
        destination.qmp.execute("migrate-incoming", {"uri": uri})
        source.qmp.capabilities(events=True)
        if way == TUNED:
            source.qmp.execute("migrate-set-parameters", {"max-bandwidth": UNLIMITED})
        moments = {"listening": time.monotonic()}
        source.qmp.execute("migrate", {"uri": uri})
        moments["stopped"] = source.qmp.wait_event("STOP", until=until)
        moments["completed"] = source.qmp.wait_event("MIGRATION", "completed")
        told = _sent(source, moments)
        source.qmp.execute("quit")
        moments["loaded"] = destination.qmp.wait_event("MIGRATION", "completed")
        moments["running"] = destination.qmp.wait_event("RESUME")
        return told

    def _paths(self, side: str) -> VmPaths:
        return VmPaths(self.directory / side, self.runtime / side)

    @contextmanager
    def _side(self, name: str, vm_id: VmId, launch: Launch) -> Iterator[Side]:
        paths = self._paths(name)
        for directory in (paths.directory, paths.runtime):
            directory.mkdir(parents=True, exist_ok=True)
        log = paths.serial_log(vm_id)
        request = launch_request(self.workload, self.pinned, paths, vm_id, launch)
        paths.rom(vm_id).write_bytes(build_rom(self.workload.guest))
        control = paths.control_socket(vm_id)
        with listening_socket(control) as listener:
            argv = build_arguments(request, HostSide(self.binary, listener.fileno()))
            if isinstance(launch, Incoming):
                argv.remove("-S")  # by hand nobody holds the guest back on the destination
            pid = spawn(argv, paths.process_log(vm_id), (listener.fileno(),))
        pidfd = os.pidfd_open(pid)
        try:
            qmp = Qmp(control)
            yield Side(paths, log, pid, pidfd, qmp)
            qmp.close()
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)
            for path in (log, paths.rom(vm_id), control, paths.runtime / "migration"):
                path.unlink(missing_ok=True)


def _sent(source: Side, moments: Mapping[str, float]) -> Told:
    """Ask the source what it has sent so far."""
    ram = json_object(source.qmp.execute("query-migrate"), "ram")
    return Told(json_int(ram, "transferred"), json_int(ram, "dirty-sync-count"), moments)


def _moment(timestamp: JsonObject) -> float:
    """Turn the time of day of an event into monotonic seconds."""
    at = json_int(timestamp, "seconds") + json_int(timestamp, "microseconds") / 1e6
    return at + time.monotonic() - time.time()
