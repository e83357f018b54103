"""Files that are there whole or not at all, and the fault when the system does not let them be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status


@contextmanager
def file_faults(what: str, status: Status = Status.ERROR_IO_DEVICE) -> Iterator[None]:
    """Turn an OSError of the files used inside into a FaultError that begins with ``what`` and says which and why."""
    try:
        yield
    except OSError as error:
        raise FaultError(status, f"{what}: {words(error)}") from error


def words(error: OSError) -> str:
    """Say what the system said, and of which file if it is known."""
    reason = error.strerror or str(error)
    return f"{reason} ({error.filename})" if error.filename else reason


@contextmanager
def made_beside(path: Path, suffix: str = ".new") -> Iterator[Path]:
    """Give the name under which to make a file that takes the place of ``path`` in one step.

    When it could not be made nothing is left of it; every OSError names a file.
    """
    new = path.with_name(path.name + suffix)
    try:
        yield new
        new.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)


@contextmanager
def partial_file(path: Path) -> Iterator[tuple[Path, int]]:
    """Open a new file that becomes ``path`` by :func:`sync_into_place`; what is still there afterwards is removed."""
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        yield partial, descriptor
    finally:
        with suppress(OSError):  # what went wrong before is the thing to tell
            os.close(descriptor)
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def sync_into_place(descriptor: int, partial: Path, path: Path) -> None:
    """Make a written file durable, and then give it its name, durably too; raises OSError, and then it has no name."""
    os.fsync(descriptor)
    partial.replace(path)
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError:
        path.unlink(missing_ok=True)
        raise
