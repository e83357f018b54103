"""A gate before QEMU: tests hold a node's QEMU before it starts, or let the start fail, without any luck.

The gate is a program named like QEMU that comes first in the daemons' PATH. It waits as long as its file says so, and
then becomes the real QEMU, with the same pid and open files.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quorate.hypervisor.qemu.host import BINARIES

_PROGRAM = """#!/bin/bash
case " $* " in
*" -incoming "*) gate="$(dirname "$0")/arrivals" ;;
*" -name "*) gate="$(dirname "$0")/starts" ;;
*) gate=/nonexistent ;;
esac
while word="$(cat "$gate" 2>/dev/null)"; do
    [ "$word" = broken ] && exit 1
    sleep 0.02
done
exec -a "$0" "{qemu}" "$@"
"""


class QemuGate:
    """Stands before every QEMU that the daemons of a cluster start; open unless a test closes it."""

    def __init__(self, directory: Path) -> None:
        """Make the program; `in_path` puts it before the real one."""
        self._directory = directory
        directory.mkdir(parents=True)
        real = next(found for name in BINARIES if (found := shutil.which(name)))
        self._program = directory / Path(real).name
        self._program.write_text(_PROGRAM.format(qemu=real), encoding="utf-8")
        self._program.chmod(0o700)

    @contextmanager
    def in_path(self) -> Iterator[None]:
        """Have what is started meanwhile, and all that it starts, find the gate."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(self._directory), prepend=os.pathsep)
            yield

    def hold_arrivals(self) -> None:
        """Let the QEMUs that wait for a guest (of a migration, or saved) not start for now."""
        self._write("arrivals", "closed")

    def hold_starts(self) -> None:
        """Let the QEMUs that start from their disks not start for now."""
        self._write("starts", "closed")

    def break_arrivals(self) -> None:
        """Let the QEMUs that wait for a guest end at once, those that are held as well."""
        self._write("arrivals", "broken")

    def open(self) -> None:
        """Hold nothing any more."""
        for name in ("arrivals", "starts"):
            (self._directory / name).unlink(missing_ok=True)

    def holds(self) -> bool:
        """Answer whether a QEMU waits at the gate (or has been let through only just now)."""
        return any(_is_run_by_shell(process, self._program) for process in Path("/proc").glob("[0-9]*"))

    def _write(self, name: str, word: str) -> None:
        new = self._directory / f"{name}.new"
        new.write_text(word, encoding="ascii")
        new.replace(self._directory / name)


def _is_run_by_shell(process: Path, program: Path) -> bool:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")[1:2] == [os.fsencode(program)]
    except OSError:
        return False
