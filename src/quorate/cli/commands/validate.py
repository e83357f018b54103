"""``quorate validate``."""

from typing import TYPE_CHECKING

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.json_types import JsonObject, json_text

if TYPE_CHECKING:
    from rich.console import RenderableType


def validate(*, problems: bool = False) -> int:
    """Check the whole cluster: what would stop a virtual machine from living on, and what helps.

    Changes nothing. The exit code is 1 when a check failed; warnings leave it 0.

    Parameters
    ----------
    problems
        Show only what is not well.
    """
    answer = session.client().call("Validate")
    findings = [one for one in answer.objects("findings") if not problems or json_text(one, "verdict") != "ok"]
    verdict = answer.text("verdict")
    output.show({"verdict": verdict, "findings": findings}, _page(findings, verdict) if not session.json else "")
    return output.EXIT_REFUSAL if verdict == "failed" else output.EXIT_SUCCESS


def _page(findings: list[JsonObject], verdict: str) -> "RenderableType":
    from rich.console import Group

    rows = [
        (
            json_text(finding, "rule"),
            output.words(json_text(finding, "verdict")),
            json_text(finding, "measured"),
            " ".join(part for part in (json_text(finding, "sentence"), json_text(finding, "remedy")) if part),
        )
        for finding in findings
    ]
    failed, warned = (sum(1 for one in findings if json_text(one, "verdict") == word) for word in ("failed", "warning"))
    closing = {
        "ok": "Everything is well.",
        "warning": f"{warned} warnings." if warned != 1 else "One warning.",
        "failed": f"{failed} checks failed, {warned} warnings."
        if failed != 1
        else f"One check failed, {warned} warnings.",
    }[verdict]
    table = output.table("", ("Check", "Verdict", "Measured", "What that means, and what helps"), rows)
    return Group(table, closing) if rows else closing
