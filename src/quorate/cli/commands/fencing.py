"""``quorate node fence``, ``fence-test`` and ``confirm-off``: switching off what is dead, or saying that it is."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject, json_flag, json_int, json_text, json_texts
from quorate.clusapi.status import Status

_STDIN: Final = "-"


def fence_(
    name: str,
    /,
    *,
    agent: str | None = None,
    option: Annotated[list[str] | None, Parameter(negative=())] = None,
    options_from: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    action: str | None = None,
    timeout: int | None = None,
    level: int | None = None,
    remove: bool = False,
) -> int:
    """Show how a node is switched off when it is dead, or say how.

    Without a fence agent the end of the node's lease is the proof that it is dead. An agent shortens the wait, or gives
    a proof where the lease gives none; one that fails does no harm.

    Parameters
    ----------
    name
        The node that is to be switched off.
    agent
        A program of the package fence-agents, such as fence_ipmilan. It must be installed on every node.
    option
        NAME=VALUE that the agent is told, as many as there are. Others see the command line while it runs: passwords
        are better given with --options-from.
    options_from
        A file of NAME=VALUE lines; - is standard input.
    action
        off, or reboot: off for a moment.
    timeout
        Seconds that the agent may take; 20 if left out.
    level
        Which of several agents, from 1: each is tried when those before it have failed.
    remove
        Forget the agent of this level, or all.
    """
    client = session.client()
    if remove:
        client.call("RemoveNodeFenceAgents", node=name, level=level)
        output.say(
            f"{name} has {'no fence agent' if level is None else f'no such fence agent {level}'} now", {"node": name}
        )
        return output.EXIT_SUCCESS
    if agent is None:
        if option or options_from or action or timeout is not None:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, "--agent is missing: options are of an agent")
        return _show(name)
    options = _pairs([*(option or ()), *_lines(options_from)])
    client.call(
        "SetNodeFenceAgent", node=name, agent=agent, options=options, action=action, timeout=timeout, level=level
    )
    output.say(
        f"{name} is switched off by {agent} when it is dead\nnext: quorate node fence-test {name}",
        {"node": name, "agent": agent, "level": level or 1},
    )
    return output.EXIT_SUCCESS


def _show(name: str) -> int:
    agents = session.client().call("GetNodeFenceAgents", node=name).objects("agents")
    if not agents:
        output.say(f"{name} has no fence agent: the end of its lease decides", {"node": name, "agents": []})
        return output.EXIT_SUCCESS
    columns = ("LEVEL", "AGENT", "ACTION", "TIMEOUT", "OPTIONS")
    rows = [
        (
            str(json_int(one, "level")),
            json_text(one, "agent"),
            json_text(one, "action"),
            f"{json_int(one, 'timeout')} s",
            ", ".join(json_texts(one, "options")),
        )
        for one in agents
    ]
    output.show({"node": name, "agents": agents}, output.table("", columns, rows) if not session.json else "")
    return output.EXIT_SUCCESS


def fence_test_(name: str, /, *, on: str | None = None) -> int:
    """Ask a node's fence agents whether they reach their devices, and whether it is on. Nothing is switched.

    Parameters
    ----------
    name
        The node that they would switch off.
    on
        The node that shall ask; each may have to, when it coordinates the cluster.
    """
    answer = session.client().call("TestNodeFenceAgents", node=name, host_node=on)
    results = answer.objects("results")
    lines = [_tested(one) for one in results]
    facts: JsonObject = {"node": name, "tested_on": answer.text("tested_on"), "results": results}
    output.say("\n".join([*lines, f"tested on {answer.text('tested_on')}"]), facts)
    return output.EXIT_SUCCESS if all(json_flag(one, "works") for one in results) else output.EXIT_FAULT


def _tested(one: JsonObject) -> str:
    works = "works" if json_flag(one, "works") else "DOES NOT WORK"
    power, sentence = json_text(one, "power"), json_text(one, "sentence")
    return f"{json_int(one, 'level')} {json_text(one, 'agent')}: {works}, power {power}: {sentence}"


def confirm_off_(name: str, /, *, yes: bool = False) -> int:
    """Give your word that a node is switched off: others take its virtual machines over at once.

    Parameters
    ----------
    name
        The node.
    yes
        Do not ask.
    """
    question = (
        f"Have you made sure that {name} is switched off? If it is not, its virtual machines may run twice, and their "
        "disks may be destroyed."
    )
    if not output.confirmed(question, yes=yes):
        output.say("nothing was done", {"node": name, "confirmed": False})
        return output.EXIT_REFUSAL
    session.client().call("ConfirmNodeOff", node=name)
    output.say(f"{name} is down: others take over", {"node": name, "confirmed": True})
    return output.EXIT_SUCCESS


def _lines(place: str | None) -> list[str]:
    if place is None:
        return []
    try:
        text = sys.stdin.read() if place == _STDIN else Path(place).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"--options-from {place} cannot be read: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _pairs(assignments: Iterable[str]) -> dict[str, str]:
    found = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"an option is NAME=VALUE; {name[:40]!r} is not")
        found[name.strip()] = value
    return found
