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
        "ForecastMove",
        "How a live migration would go: a look at the guest and at the link, some seconds long; nothing is begun.",
        (
            _VM,
            Field("destination", _T.TEXT, "to this node; absent: to the one that START would choose", optional=True),
            Field("bandwidth_limit", _T.U32, "with no more than so many MiB/s; absent, 0: no limit", optional=True),
            Field(
                "policy", _T.TEXT, "under this migration policy; absent: as the VM or the cluster says", optional=True
            ),
        ),
        (
            Field("vm", _T.TEXT, "name of its group"),
            Field("node", _T.TEXT, "name of its owner"),
            Field("destination", _T.TEXT, "name of the node it would go to; empty: there is none"),
            Field("status", _T.U32, "what START would answer: 0, or why it would refuse"),
            Field("sentence", _T.TEXT, "the same for people; empty where status is 0"),
            Field("findings", _T.OBJECTS, "how every rule stands, as AssessMove tells it"),
            Field(
                "forecast",
                _T.OBJECT,
                "empty where START would refuse. verdict (converges, may not converge, will not converge), policy, "
                "mode, throttle (percent for which the guest would be held back), seconds, gap_ms, passes and bytes as "
                "{low, likely, high}, sentence (why it would not converge), "
                "would (the policies under which it would), known (what it was made from); or only absent: why "
                "nothing is foretold",
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
                "result, sentence, policy, gap_limit_ms (what that allowed), throttle (percent for which the guest was "
                "held back), rate, alive_after (seconds after which the guest was seen to live), forecast as of "
                "ForecastMove, off_by {verdict (foretold rightly), seconds_percent, gap_ms}, sequence; null where it "
                "was not measured",
            ),
        ),
        Place.ANYWHERE,
    ),
)
