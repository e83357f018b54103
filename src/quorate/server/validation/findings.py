"""What a check says: its rule, how that stands, what was measured, what it means and what helps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from quorate.clusapi.json_types import JsonValue


class Verdict(StrEnum):
    """How a rule stands; the later the worse."""

    OK = "ok"
    WARNING = "warning"  # all runs, but something that was counted on is not there
    FAILED = "failed"  # something is broken, or would be with the next fault


_ORDER = tuple(Verdict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer. ``remedy`` is empty where nothing is to be done."""

    rule: str
    verdict: Verdict
    measured: str
    sentence: str
    remedy: str = ""

    def to_json(self) -> dict[str, JsonValue]:
        """As every face shows it."""
        return {
            "rule": self.rule,
            "verdict": str(self.verdict),
            "measured": self.measured,
            "sentence": self.sentence,
            "remedy": self.remedy,
        }


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict of all together."""
    return max((finding.verdict for finding in findings), key=_ORDER.index, default=Verdict.OK)


def or_well(problems: Sequence[Finding], rule: str, measured: str, sentence: str) -> tuple[Finding, ...]:
    """The problems, or one line that says that there is none."""
    return tuple(problems) or (Finding(rule, Verdict.OK, measured, sentence),)


def count(number: int, thing: str) -> str:
    """A number of things in words: "1 node", "3 nodes"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """Names in a sentence."""
    *first, last = list(names) or [""]
    return f"{', '.join(first)} and {last}" if first else last
