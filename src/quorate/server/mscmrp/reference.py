"""Writes the table of methods in ``docs/guide/clusapi.md``: ``python -m quorate.server.mscmrp.reference FILE``.

Made from what is declared and bound, so that it is true: a test compares the two, and asks a server for each state.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from quorate.clusapi.operation_types import Access
from quorate.clusapi.status import Status
from quorate.mscmrp.cluster_methods import SET_QUORUM_RESOURCE
from quorate.mscmrp.interface import LAST_OPNUM, METHODS
from quorate.mscmrp.resource_methods import CHANGE_CSV_STATE, CHANGE_CSV_STATE_EX
from quorate.server.mscmrp.face import HANDLERS
from quorate.server.mscmrp.unanswered import REASONS

BEGIN: Final = "<!-- methods: begin (written by python -m quorate.server.mscmrp.reference) -->"
END: Final = "<!-- methods: end -->"

ALWAYS_REFUSED: Final[Mapping[int, tuple[Status, str]]] = MappingProxyType(
    {
        SET_QUORUM_RESOURCE.opnum: (
            Status.ERROR_NOT_QUORUM_CAPABLE,
            "the quorum is that of the database, and no resource votes",
        ),
        CHANGE_CSV_STATE.opnum: (Status.ERROR_DISK_NOT_CSV_CAPABLE, "no resource is a disk"),
        CHANGE_CSV_STATE_EX.opnum: (Status.ERROR_DISK_NOT_CSV_CAPABLE, "no resource is a disk"),
    }
)
"""Methods that are answered, but never with success: the status, and why."""

_ACCESS: Final = {Access.READ: "read", Access.FULL: "full", Access.BY_CODE: "by its code"}


def state_of(opnum: int) -> str:
    """What becomes of a method here, in words."""
    if opnum not in METHODS:
        return "reserved"
    if opnum in REASONS:
        return f"not answered ({int(Status.ERROR_CALL_NOT_IMPLEMENTED)}): {REASONS[opnum]}"
    if opnum in ALWAYS_REFUSED:
        status, why = ALWAYS_REFUSED[opnum]
        return f"refused ({int(status)}): {why}"
    return "answered" if opnum in HANDLERS else "not bound"


def table() -> str:
    """The methods by number: name, access, state."""
    return "\n".join(("| opnum | method | access | state |", "|---|---|---|---|", *_rows())) + "\n"


def _rows() -> Iterator[str]:
    for opnum in range(LAST_OPNUM + 1):
        method = METHODS.get(opnum)
        name, access = ("", "") if method is None else (f"`{method.name}`", _ACCESS[method.access])
        yield f"| {opnum} (0x{opnum:02X}) | {name} | {access} | {state_of(opnum)} |"


def rewritten(page: str) -> str:
    """The page with the table of now between its marks. Raises ValueError when it has no place for it."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError("the page has no place for the table of methods")
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.write_text(rewritten(place.read_text(encoding="utf-8")), encoding="utf-8")
