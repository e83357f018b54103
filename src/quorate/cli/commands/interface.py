"""``quorate interface …``."""

from quorate.cli import output
from quorate.cli.commands.network import NO_NETWORKS
from quorate.cli.commands.tables import interface_rows
from quorate.cli.session import session


def list_() -> int:
    """List the nodes' network interfaces with state, network and addresses."""
    interfaces = session.client().call("ListNetInterfaces").objects("interfaces")
    people = interface_rows(interfaces) if interfaces and not session.json else NO_NETWORKS
    output.show({"interfaces": interfaces}, people)
    return output.EXIT_SUCCESS
