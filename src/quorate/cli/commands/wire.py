"""``quorate wire``."""

import sys
from pathlib import Path
from typing import Final

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.status import Status

_LARGEST: Final = 256 << 20
_DIGITS: Final = frozenset(" \t\n0123456789abcdefABCDEF")


def wire(what: str, /) -> int:
    """Show the calls of ClusAPI's wire protocol in words.

    What is sealed stays so: then the calls are shown by name and size, without what is in them. Where a capture begins
    after the bind, or single calls are given, they are taken for calls of ClusAPI.

    Parameters
    ----------
    what
        A capture of network traffic (pcap, pcapng), a file with PDUs as bytes or as a hex dump, or the hex digits.
    """
    from quorate.dcerpc.dissect import Vocabulary, dissect
    from quorate.dcerpc.epm import DECLARATIONS, MAPPER
    from quorate.mscmrp.words import vocabulary

    lines = dissect(_data(what), (vocabulary(), Vocabulary("epm", MAPPER, DECLARATIONS)))
    if session.json:
        output.print_json({"lines": list(lines)})
        return output.EXIT_SUCCESS
    found = False
    for line in lines:
        sys.stdout.write(f"{line}\n")
        found = True
    if not found:
        output.say("there is no DCE/RPC in it", {})
    return output.EXIT_SUCCESS


def _data(what: str) -> bytes:
    try:
        is_file = Path(what).is_file()
    except (OSError, ValueError):  # too long or with a NUL: digits, surely no path
        is_file = False
    if not is_file:
        if not set(what) <= _DIGITS:
            raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"there is no file {what!r}, and hex digits it is not")
        return what.encode()
    path = Path(what)
    try:
        if path.stat().st_size > _LARGEST:
            raise CallerError(
                Status.ERROR_INVALID_PARAMETER, f"{what} has more than {_LARGEST >> 20} MiB: cut it first"
            )
        return path.read_bytes()
    except OSError as error:
        raise FaultError(Status.ERROR_IO_DEVICE, f"{what} cannot be read: {error.strerror or error}") from error
