"""``quorate node …``."""

from quorate.cli import output
from quorate.cli.commands.tables import node_rows
from quorate.cli.session import session


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


def resume_(name: str, /) -> int:
    """Let a paused node take virtual machines again."""
    status = session.client().call("ResumeNode", node=name).number("status")
    output.say(f"{name} takes virtual machines again", {"node": name, "status": status})
    return output.EXIT_SUCCESS
