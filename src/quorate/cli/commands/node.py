"""``quorate node …``."""

from quorate.cli import output
from quorate.cli.commands.properties import Target, set_properties
from quorate.cli.commands.tables import node_rows
from quorate.cli.commands.waiting import drained_node
from quorate.cli.session import session
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import json_text
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import NodePauseFlags, NodeResumeFailbackType
from quorate.clusapi.status import Status


def list_() -> int:
    """List the nodes with their state and the pids of their daemon and QEMUs."""
    nodes = session.client().call("ListNodes").objects("nodes")
    output.show({"nodes": nodes}, node_rows(nodes) if not session.json else "")
    return output.EXIT_SUCCESS


def pause_(name: str, /) -> int:
    """Let a node take no new virtual machines; those it has stay."""
    status = session.client().call("PauseNode", node=name).number("status")
    output.say(f"{name} is paused", {"node": name, "status": status})
    return output.EXIT_SUCCESS


def drain_(
    name: str,
    /,
    *,
    target: str | None = None,
    force: bool = False,
    retry: bool = False,
    wait: bool = False,
    timeout: float = 3600.0,
) -> int:
    """Pause a node and move everything off it: running virtual machines live, by Priority.

    What cannot move stays where it is and runs on, and the reason is shown. `quorate node resume` ends a drain.

    Parameters
    ----------
    name
        The node.
    target
        Move everything to this node; where it fits best, if left out.
    force
        Leave nothing behind: what cannot move live is saved or shut down, and moved so.
    retry
        Try for ever instead of giving up.
    wait
        Wait until it is over, and show how it goes.
    timeout
        Seconds to wait at most.
    """
    flags = NodePauseFlags.NONE if force else NodePauseFlags.REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR
    if retry:
        flags |= NodePauseFlags.RETRY_DRAIN_ON_FAILURE
    client = session.client()
    status = client.call("PauseNode", node=name, drain=True, target=target, flags=int(flags)).number("status")
    if not wait:
        output.say(f"{name} is being drained", {"node": name, "status": status})
        return output.EXIT_SUCCESS
    drain = drained_node(client, name, timeout, _tell)
    sentence = json_text(drain, "sentence") if drain else f"{name} was resumed before it was drained"
    is_done = drain.get("stage") == "completed"
    output.say(sentence, {"node": name, "status": status, "drain": drain})
    return output.EXIT_SUCCESS if is_done else output.EXIT_REFUSAL


def resume_(name: str, /, *, failback: bool = False, by_policy: bool = False) -> int:
    """Let a paused, drained or quarantined node take virtual machines again; a drain that goes on is stopped.

    Parameters
    ----------
    name
        The node.
    failback
        Bring back what was drained from it, now.
    by_policy
        Bring back what was drained from it, each group as its failback policy says.
    """
    if failback and by_policy:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "say --failback or --by-policy, not both")
    how = NodeResumeFailbackType.DO_NOT_FAIL_BACK
    if failback or by_policy:
        immediately, policy = NodeResumeFailbackType.FAIL_BACK_IMMEDIATELY, NodeResumeFailbackType.FAIL_BACK_PER_POLICY
        how = immediately if failback else policy
    status = session.client().call("ResumeNode", node=name, failback=int(how) or None).number("status")
    comes = ", and what was drained from it comes back" if how else ""
    output.say(f"{name} takes virtual machines again{comes}", {"node": name, "status": status})
    return output.EXIT_SUCCESS


def _tell(sentence: str) -> None:
    """Show how it goes; programs read the outcome alone."""
    if not session.json:
        output.say(sentence, {})


def set_(name: str, /, *assignments: str, private: bool = False) -> int:
    """Set properties of a node.

    Parameters
    ----------
    name
        The node.
    assignments
        KEY=VALUE, as many as there are; items of a list are separated by commas.
    private
        Store names that the node does not know as private properties of your own.
    """
    client = session.client()

    def control(code: int, data: bytes | None) -> Values:
        return client.call("NodeControl", node=name, control_code=code, in_buffer=data)

    return set_properties(Target(ControlObject.NODE, name, control), assignments, private=private)
