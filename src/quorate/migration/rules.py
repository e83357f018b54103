"""What a rule of the preflight says: how it stands, what was measured, and what would help.

Every rule is a pure function of what was measured, and answers with a finding whether it holds or not: START refuses by
the first one that refuses, `quorate why-not` shows them all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from quorate.clusapi.errors import ClusterError, error_from_status
from quorate.clusapi.json_types import JsonObject, JsonValue, json_int, json_text
from quorate.clusapi.status import Status


class Verdict(StrEnum):
    """How a rule stands."""

    OK = "ok"
    WARNS = "warns"
    """The move may go, with a disadvantage; or it is not known whether the rule holds."""
    REFUSES = "refuses"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, as it stands for one virtual machine and one node."""

    rule: str
    verdict: Verdict
    measured: str
    status: Status = Status.ERROR_SUCCESS
    """With which START refuses; 0 unless the verdict is REFUSES."""
    sentence: str = ""
    """What START says then, or what the warning is; empty where all is well."""
    remedy: str = ""
    """What helps, the cheapest first: a command where there is one."""

    @classmethod
    def ok(cls, rule: str, measured: str) -> Self:
        """Make the finding of a rule that holds."""
        return cls(rule, Verdict.OK, measured)

    @classmethod
    def warns(cls, rule: str, measured: str, sentence: str, remedy: str = "") -> Self:
        """Make the finding of a rule that does not stand in the way."""
        return cls(rule, Verdict.WARNS, measured, Status.ERROR_SUCCESS, sentence, remedy)

    @classmethod
    def refuses(cls, rule: str, measured: str, status: Status, sentence: str, remedy: str) -> Self:
        """Make the finding of a rule that stands in the way."""
        return cls(rule, Verdict.REFUSES, measured, status, sentence, remedy)

    @property
    def is_refusal(self) -> bool:
        """Answer whether this rule stands in the way."""
        return self.verdict is Verdict.REFUSES

    def error(self) -> ClusterError:
        """Give the refusal as START raises it. ValueError where nothing is refused."""
        return error_from_status(self.status, self.sentence)

    def said_by(self, who: str) -> "Finding":
        """Let the sentence say who has found it."""
        return replace(self, sentence=f"{who}: {self.sentence}") if self.sentence else self

    def to_json(self) -> dict[str, JsonValue]:
        """Write it as every face shows it."""
        return {
            "rule": self.rule,
            "verdict": str(self.verdict),
            "measured": self.measured,
            "status": int(self.status),
            "sentence": self.sentence,
            "remedy": self.remedy,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read it; a verdict that this version does not know is a warning, unless it has a status."""
        status = Status(json_int(value, "status"))
        try:
            verdict = Verdict(json_text(value, "verdict"))
        except ValueError:
            verdict = Verdict.REFUSES if status else Verdict.WARNS
        return cls(
            rule=json_text(value, "rule"),
            verdict=verdict,
            measured=json_text(value, "measured"),
            status=status,
            sentence=json_text(value, "sentence"),
            remedy=json_text(value, "remedy"),
        )


def first_refusal(findings: Iterable[Finding]) -> Finding | None:
    """Find the rule by which START refuses; None if no rule stands in the way."""
    return next((finding for finding in findings if finding.is_refusal), None)


def require(findings: Iterable[Finding]) -> None:
    """Refuse by the first rule that stands in the way.

    Raises:
        ClusterError: with that rule's status and sentence.
    """
    refusal = first_refusal(findings)
    if refusal is not None:
        raise refusal.error()
