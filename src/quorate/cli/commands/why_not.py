"""``quorate why-not``: whether a virtual machine could be moved now, and what stands in the way."""

from typing import TYPE_CHECKING

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.json_types import JsonObject, JsonValue, json_flag, json_int, json_objects, json_text
from quorate.clusapi.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType


def why_not(vm: str, node: str | None = None, /, *, problems: bool = False) -> int:
    """Tell whether a virtual machine could be migrated now, by every rule that a migration asks.

    Nothing is begun. Each rule shows what was measured, and what helps where it stands in the way. The exit code is 1
    when it could not go to that node, or to none.

    Parameters
    ----------
    vm
        The virtual machine.
    node
        The node to go to; each of the others, one line each, if left out.
    problems
        Show only the rules that refuse or warn; without a node, only the nodes of which one does.
    """
    answer = session.client().call("AssessMove", vm=vm, destination=node)
    nodes = answer.objects("nodes")
    possible = any(json_flag(one, "possible") for one in nodes)
    is_all = not problems or not nodes
    if problems:
        nodes = tuple(_with_problems(nodes, keep_all=node is not None))
    name, owner = answer.text("vm"), answer.text("node")
    page: RenderableType = ""
    if not session.json:
        page = _matrix(name, owner, nodes, is_all=is_all) if node is None else _rules(name, owner, nodes[0])
    output.show({"vm": name, "node": owner, "nodes": list(nodes)}, page)
    return output.EXIT_SUCCESS if possible else output.EXIT_REFUSAL


def _with_problems(nodes: "Sequence[JsonObject]", *, keep_all: bool) -> "Iterator[JsonObject]":
    """The nodes with the rules that refuse or warn; those that have none only if all are kept."""
    for node in nodes:
        findings: list[JsonValue] = [one for one in json_objects(node, "findings") if json_text(one, "verdict") != "ok"]
        if findings or keep_all:
            yield {**node, "findings": findings}


def _rules(vm: str, owner: str, node: JsonObject) -> "RenderableType":
    from rich.console import Group

    findings = json_objects(node, "findings")
    return Group(findings_table(findings), _closing(vm, owner, node)) if findings else _closing(vm, owner, node)


def findings_table(findings: "Sequence[JsonObject]") -> "RenderableType":
    """Show how rules stand, with what was measured and what helps."""
    rows = [
        (json_text(one, "rule"), json_text(one, "verdict"), json_text(one, "measured"), _what_helps(one))
        for one in findings
    ]
    return output.table("", ("Rule", "Verdict", "Measured", "Why, and what helps"), rows)


def _what_helps(finding: JsonObject) -> str:
    sentence, remedy = json_text(finding, "sentence"), json_text(finding, "remedy")
    return f"{sentence}. Try: {remedy}" if sentence and remedy else sentence


def _closing(vm: str, owner: str, node: JsonObject) -> str:
    name = json_text(node, "name")
    if json_flag(node, "possible"):
        return f'"{vm}" can be moved from {owner} to {name}: quorate vm migrate {vm} --to {name}'
    refusals = sum(1 for one in json_objects(node, "findings") if json_text(one, "verdict") == "refuses")
    status = Status(json_int(node, "status"))
    rules = "one rule refuses" if refusals == 1 else f"{refusals} rules refuse"
    return f'"{vm}" cannot be moved from {owner} to {name}: {rules}; START would answer {int(status)} {status.name}'


def _matrix(vm: str, owner: str, nodes: tuple[JsonObject, ...], *, is_all: bool) -> "RenderableType":
    from rich.console import Group

    if not nodes and not is_all:
        return f'nothing stands in the way of "{vm}" to any other node'
    rows = [(json_text(node, "name"), *_word(node)) for node in nodes]
    table = output.table("", ("Node", f"{vm} from {owner}", "Because"), rows)
    return Group(table, f"quorate why-not {vm} NODE shows every rule") if rows else "there is no other node"


def _word(node: JsonObject) -> tuple[str, str]:
    findings = json_objects(node, "findings")
    if json_flag(node, "possible"):
        warnings = [json_text(one, "sentence") for one in findings if json_text(one, "verdict") == "warns"]
        return "yes", "; ".join(warnings)
    refusals = [json_text(one, "sentence") for one in findings if json_text(one, "verdict") == "refuses"]
    more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
    return "no", f"{json_text(node, 'sentence')}{more}"
