"""What `quorate demo` has seen from outside, and what of it speaks against a live migration or a failover."""

from dataclasses import dataclass, field
from typing import Final

from quorate.clusapi.json_types import JsonObject, JsonValue, json_texts
from quorate.hypervisor.serial_watch import SerialReport

VM: Final = "web1"
SOURCE: Final = "node1"
DESTINATION: Final = "node2"
LONGEST_GAP: Final = 1.0
"""Seconds of silence on the serial port beyond which we do not call it a live migration."""
LONGEST_SILENCE: Final = 15.0
"""Seconds after the death of its node within which a virtual machine must be heard elsewhere."""


@dataclass(slots=True)
class FailoverProof:
    """The second act: the node that hosts the virtual machine dies."""

    victim: str = ""
    owner_after: str = ""
    epoch_before: int = 0
    epoch_after: int = 0
    silence: float = 0.0
    """Seconds from the death of the node to the first word of the guest elsewhere."""
    count_before: int = 0
    count_after: int = 0
    interleaved: bool = False
    left_over: tuple[int, ...] = ()
    sentence: str = ""
    """Why the cluster did what it did, in its own words."""

    def faults(self) -> tuple[str, ...]:
        """Say everything that speaks against a failover."""
        checks = [
            (
                self.owner_after not in ("", self.victim),
                f"{VM} is on {self.owner_after or 'no node'} in the end",
            ),
            (self.epoch_after > self.epoch_before, "the epoch of the ownership record did not rise in the failover"),
            (self.count_after > 0, "the guest was not heard again"),
            (not self.interleaved, "both copies spoke at the same time"),
            (not self.left_over, f"QEMU processes were left on {self.victim}: {self.left_over}"),
            (self.silence < LONGEST_SILENCE, f"the guest was silent for {self.silence:.1f} s"),
        ]
        return tuple(sentence for holds, sentence in checks if not holds)

    def to_json(self) -> dict[str, JsonValue]:
        """Write it for programs."""
        return {
            "failover_from": self.victim,
            "failover_to": self.owner_after,
            "failover_ms": round(self.silence * 1000, 1),
            "failover_epoch_before": self.epoch_before,
            "failover_epoch_after": self.epoch_after,
            "failover_sentence": self.sentence,
        }


@dataclass(slots=True)
class Proof:
    """What was seen, and what of it is not as it should be."""

    source: str = SOURCE
    destination: str = DESTINATION
    owner_before: str = ""
    owner_after: str = ""
    epoch_before: int = 0
    epoch_after: int = 0
    total: float = 0.0
    status: int = 0
    report: SerialReport | None = None
    count_at_start: int = 0
    bytes_sent: int = 0
    passes: int = 0
    migration_state: int = 0
    source_log: str = ""
    destination_log: str = ""
    before: JsonObject = field(default_factory=dict)
    after: JsonObject = field(default_factory=dict)
    left_over: tuple[int, ...] = ()
    failover: FailoverProof | None = None
    stopped_by: str = ""
    """Why the demo could not be carried out to its end."""
    not_taken_down: str = ""
    """Why the cluster could not be taken down in order."""

    def faults(self) -> tuple[str, ...]:
        """Say everything that speaks against a live migration."""
        if self.stopped_by:
            return tuple(filter(None, (self.stopped_by, self.not_taken_down)))
        report = self.report
        checks = [
            (self.status == 0, f"START_MIGRATION answered {self.status}"),
            (self.owner_before == self.source, f"{VM} began on {self.owner_before or 'no node'}"),
            (self.owner_after == self.destination, f"{VM} is on {self.owner_after or 'no node'}"),
            (self.epoch_after > self.epoch_before, "the epoch of the ownership record did not rise"),
            (self.migration_state == 0, f"MigrationState is {self.migration_state}"),
            (not self.left_over, f"QEMU processes were left on {self.source}: {self.left_over}"),
            (report is not None and report.beats > 0, "the guest was never heard"),
            (not self.not_taken_down, self.not_taken_down),
        ]
        if report is not None:
            checks += [
                (not report.missing, f"{len(report.missing)} counts are missing"),
                (not report.repeated, f"{len(report.repeated)} counts came twice: the guest was restarted"),
                (not report.interleaved, "both copies spoke at the same time"),
                (not report.other, f"the guest complained: {report.other[:1]}"),
                (len(report.turns) == 2, "the guest was not heard from both nodes, once each"),
                (report.longest_gap < LONGEST_GAP, f"the guest stood still for {report.longest_gap * 1000:.0f} ms"),
            ]
        found = tuple(sentence for holds, sentence in checks if not holds)
        return found + (("the second act was not played",) if self.failover is None else self.failover.faults())

    def to_json(self, *, keep: bool) -> dict[str, JsonValue]:
        """Write it for programs."""
        report = self.report
        facts: dict[str, JsonValue] = {
            "ok": not self.faults(),
            "source": self.source,
            "destination": self.destination,
            "owner_before": self.owner_before,
            "owner_after": self.owner_after,
            "total_ms": round(self.total * 1000, 1),
            "gap_ms": None if report is None else round(report.longest_gap * 1000, 1),
            "guest_continuous": report is not None and report.continuous,
            "count_at_start": self.count_at_start,
            "count_before": None if report is None else report.first,
            "count_after": None if report is None else report.last,
            "bytes": str(self.bytes_sent),
            "passes": self.passes,
            "epoch_before": self.epoch_before,
            "epoch_after": self.epoch_after,
            **(FailoverProof() if self.failover is None else self.failover).to_json(),
            "faults": list(self.faults()),
        }
        if keep:
            facts["serial_logs"] = {self.source: self.source_log, self.destination: self.destination_log}
            facts["processes"] = {
                "source": {"pid": self.before.get("pid"), "command": list(json_texts(self.before, "command"))},
                "destination": {"pid": self.after.get("pid"), "command": list(json_texts(self.after, "command"))},
            }
        return facts
