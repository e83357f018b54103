"""``quorate vm console``: what the guest prints on its serial port, wherever it runs."""

import sys
import time
from pathlib import Path
from typing import BinaryIO, Final

from quorate.cli import output
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import FaultError
from quorate.clusapi.json_types import json_text
from quorate.clusapi.status import Status

_LOOK_EVERY: Final = 0.1
_ASK_EVERY: Final = 1.0
_TAIL: Final = 4096


def console(name: str, /, *, follow: bool = True, all: bool = False) -> int:
    """Show what a virtual machine prints on its serial port, and go on until Ctrl-C; it is followed when it moves.

    Parameters
    ----------
    name
        The virtual machine.
    follow
        Go on with what it prints from now on.
    all
        Begin at the beginning of the log, not near its end.
    """
    client = session.client()
    path = _log_of(client, name)
    if path is None:
        raise FaultError(Status.ERROR_FILE_NOT_FOUND, f'"{name}" has no serial log yet; start it first')
    reader = _Reader(path, from_start=all)
    asked = time.monotonic()
    try:
        while True:
            printed = reader.drain()
            if not follow:
                break
            if time.monotonic() - asked > _ASK_EVERY:
                asked = time.monotonic()
                if (now := _log_of(client, name)) is not None and now != path:
                    reader.drain()
                    path = now
                    reader.switch(path)
            if not printed:
                time.sleep(_LOOK_EVERY)
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    finally:
        reader.close()
    return output.EXIT_SUCCESS


def _log_of(client: BlockingClient, name: str) -> Path | None:
    try:
        log = json_text(client.call("GetVirtualMachine", vm=name).json("virtual_machine"), "serial_log")
    except FaultError:
        return None  # the node is busy or away; the file that we have stays good
    return Path(log) if log else None


def _stays_before(path: Path) -> dict[Path, int]:
    """Where the logs of the other nodes end now: what a guest that comes back there has printed before is old."""
    logs = path.parents[2].glob(f"*/{path.parent.name}/{path.name}") if len(path.parents) > 2 else ()
    return {log: log.stat().st_size for log in logs if log != path}


class _Reader:
    """Reads one log after another, and each from where it was left."""

    def __init__(self, path: Path, *, from_start: bool) -> None:
        self._left_at = _stays_before(path)
        self._path = path
        self._file = self._open(path, from_start=from_start)

    def drain(self) -> bool:
        """Print everything that is there; answers whether there was anything."""
        data = self._file.read()
        if data:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        return bool(data)

    def switch(self, path: Path) -> None:
        """Go on with another log."""
        self._left_at[self._path] = self._file.tell()
        self._file.close()
        self._path = path
        self._file = self._open(path, from_start=False)

    def close(self) -> None:
        """Stop reading."""
        self._file.close()

    def _open(self, path: Path, *, from_start: bool) -> BinaryIO:
        try:
            file = path.open("rb")
        except OSError as error:
            raise FaultError(
                Status.ERROR_FILE_NOT_FOUND, f"the serial log {path} cannot be read: {error.strerror}"
            ) from error
        if path in self._left_at:
            file.seek(self._left_at[path])
        elif not from_start:
            size = path.stat().st_size
            if size > _TAIL:
                file.seek(size - _TAIL)
                file.readline()
        return file
