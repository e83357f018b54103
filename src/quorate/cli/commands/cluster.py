"""``quorate cluster …``."""

from quorate.cli import output
from quorate.cli.commands.properties import Target, common_properties, rows_of, set_properties
from quorate.cli.commands.tables import fact_rows
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.operation_values import Values


def show_() -> int:
    """Show the cluster's name and version with its common properties."""
    client = session.client()
    found = client.call("GetClusterInformation")
    properties = common_properties(_target(client, found.text("name")))
    facts = {"name": found.text("name"), "vendor": found.text("vendor"), "version": found.text("version")}
    if session.json:
        output.print_json({**facts, "properties": properties})
        return output.EXIT_SUCCESS
    console = output.console()
    console.print(fact_rows([(key.capitalize(), value) for key, value in facts.items()]))
    console.print(fact_rows(rows_of(properties), "Properties"))
    return output.EXIT_SUCCESS


def set_(*assignments: str, private: bool = False) -> int:
    """Set properties of the cluster.

    Parameters
    ----------
    assignments
        KEY=VALUE, as many as there are; items of a list are separated by commas.
    private
        Store names that the cluster does not know as private properties of your own.
    """
    client = session.client()
    name = client.call("GetClusterInformation").text("name")
    return set_properties(_target(client, name), assignments, private=private)


def _target(client: BlockingClient, name: str) -> Target:
    def control(code: int, data: bytes | None) -> Values:
        return client.call("ClusterControl", control_code=code, in_buffer=data)

    return Target(ControlObject.CLUSTER, name, control)
