"""The operations about moves that may be, and moves that were: both change nothing."""

from typing import Final

from quorate.clusapi.operation_declarations import read as _read
from quorate.clusapi.operation_types import Field, FieldType, Operation, Place

_T = FieldType
_VM: Final = Field("vm", _T.TEXT, "the virtual machine: its VmId or its group's id or name")

MIGRATION_OPERATIONS: Final[tuple[Operation, ...]] = (
    _read(
        "AssessMove",
        "Whether a virtual machine could be migrated now, by every rule that START asks; nothing is begun.",
        (_VM, Field("destination", _T.TEXT, "to this node; absent: to each of the others", optional=True)),
        (
            Field("vm", _T.TEXT, "name of its group"),
            Field("node", _T.TEXT, "name of its owner"),
            Field(
                "nodes",
                _T.OBJECTS,
                "{node, name, possible, status, sentence, memory_free, findings} each; status and sentence are those "
                "with which START would refuse; a finding is {rule, verdict, measured, status, sentence, remedy}",
            ),
        ),
        Place.GROUP_OWNER,
    ),
    _read(
        "ListMigrations",
        "Live migrations that are over, oldest first: how long they took, and for how long the guest stood still.",
        (
            Field("after", _T.U64, "only later ones, by their sequence; absent, as since: the newest", optional=True),
            Field("limit", _T.U32, "so many at most; absent: 100", optional=True),
            Field("since", _T.TEXT, "only those that ended at this moment (RFC 3339) or later", optional=True),
            Field("vm", _T.TEXT, "only of this virtual machine", optional=True),
        ),
        (
            Field(
                "migrations",
                _T.OBJECTS,
                "session, vm, source, destination, asked_by, started, ended, seconds, gap_ms, bytes, passes, mode, "
                "result, sentence, forecast, sequence; null where it was not measured",
            ),
        ),
        Place.ANYWHERE,
    ),
)
