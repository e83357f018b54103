"""A real guard for a test, and processes that stand for QEMUs: they have run files, and do nothing."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from quorate.engine.guard_file import GUARD_FILE, GuardFile, Party, Pulse, boottime
from quorate.hypervisor.qemu.process import RunFile, start_time

LIMIT = 60.0


class GuardRig:
    """A node's runtime directory, seen by its daemon, which is the test."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.log_path = runtime.parent / "guard.log"
        self.file = GuardFile(runtime / GUARD_FILE)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._nothing = os.pipe()

    # --- the daemon ------------------------------------------------------------------------------------------------

    def let_run(self, seconds: float, duration: float = 5.0) -> float:
        """Say that virtual machines may run for so long; answers until when."""
        deadline = boottime() + seconds
        self.file.write_word(deadline, duration)
        return deadline

    # --- processes -------------------------------------------------------------------------------------------------

    def guard(self, *options: str, through: Sequence[str] = (), ready: bool = True) -> subprocess.Popen[bytes]:
        """Start a guard; ``through`` is a program that becomes it, such as one that takes rights away."""
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                [*through, sys.executable, "-m", "quorate.service.guard", str(self.runtime), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.own(process)
        if ready:
            self.wait(lambda: self.guard_pid() == process.pid, "the guard does its rounds")
        return process

    def own(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """End a process with the others."""
        self._processes.append(process)
        return process

    def pulse(self) -> Pulse | None:
        return self.file.pulse(Party.GUARD)

    def guard_pid(self) -> int | None:
        pulse = self.pulse()
        return pulse.pid if pulse is not None and self.file.is_locked() else None

    def qemu(
        self, name: str = "web1", *, noted: bool = True, wrong: bool = False, account: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start what stands for a QEMU: a shell that stands still until it is killed.

        Not ``noted``: the daemon died before it knew the pid; ``wrong``: the pid is somebody else's by now.
        """
        vm_id = str(uuid.uuid4())
        argv = ("/bin/sh", "-c", "read nothing", "-name", f"guest={name},debug-threads=on", vm_id)
        self._note(vm_id, argv, 0, 0)
        process = subprocess.Popen(argv, stdin=self._nothing[0], user=account, start_new_session=True)
        self.own(process)
        if noted:
            self._note(vm_id, argv, process.pid, (start_time(process.pid) or 0) + wrong)
        return process

    def _note(self, vm_id: str, argv: tuple[str, ...], pid: int, ticks: int) -> None:
        note = RunFile(vm_id, "image", pid, ticks, time.time(), (10, 0, 0), argv, "control", "serial", False)
        note.write(self.runtime / f"{vm_id}.run")

    # --- looking ---------------------------------------------------------------------------------------------------

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, f"not within {LIMIT:.0f} s: {what}\n{self.log()}"
            time.sleep(0.005)

    def end_of(self, process: subprocess.Popen[bytes]) -> float:
        """Wait for a process to have been killed; answers when (CLOCK_BOOTTIME)."""
        assert process.wait(LIMIT) == -signal.SIGKILL
        return boottime()

    def rounds(self, number: int = 4) -> None:
        """Let the guard do some more rounds."""
        for _ in range(number):
            before = self.pulse()
            self.wait(lambda before=before: self.pulse() != before, "another round")  # type: ignore[misc]

    def close(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL) if process.poll() is None else None
            process.wait()
        self.file.close()
        for descriptor in self._nothing:
            os.close(descriptor)


@contextmanager
def guard_rig(directory: Path) -> Iterator[GuardRig]:
    runtime = directory / "runtime"
    runtime.mkdir(mode=0o700)
    made = GuardRig(runtime)
    try:
        yield made
    finally:
        made.close()
