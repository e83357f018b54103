"""``quorate node …``."""

from quorate.cli import output
from quorate.cli.commands.properties import Target, set_properties
from quorate.cli.commands.tables import node_rows
from quorate.cli.session import session
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.operation_values import Values


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
    """Let a paused or quarantined node take virtual machines again."""
    status = session.client().call("ResumeNode", node=name).number("status")
    output.say(f"{name} takes virtual machines again", {"node": name, "status": status})
    return output.EXIT_SUCCESS


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
