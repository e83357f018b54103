"""``quorate network …``."""

from quorate.cli import output
from quorate.cli.commands.properties import Target, common_properties, rows_of, set_properties
from quorate.cli.commands.tables import ROLES, fact_rows, interface_rows, network_rows
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.json_types import JsonObject, json_int, json_objects, json_text, json_texts
from quorate.clusapi.operation_values import Values

NO_NETWORKS = "No networks were found between the nodes; those of a pocket cluster share one machine."


def list_() -> int:
    """List the networks between the nodes with state, subnets, role and metric."""
    networks = session.client().call("ListNetworks").objects("networks")
    people = network_rows(networks) if networks and not session.json else NO_NETWORKS
    output.show({"networks": networks}, people)
    return output.EXIT_SUCCESS


def show_(name: str, /) -> int:
    """Show a network with its interfaces and its properties."""
    client = session.client()
    id_ = client.call("GetNetworkId", network=name).text("id")
    found = next(one for one in client.call("ListNetworks").objects("networks") if json_text(one, "id") == id_)
    properties = common_properties(_target(client, json_text(found, "name")))
    if session.json:
        output.print_json({**found, "properties": properties})
        return output.EXIT_SUCCESS
    console = output.console()
    console.print(fact_rows(_facts(found), json_text(found, "name")))
    console.print(interface_rows(json_objects(found, "interfaces"), "Interfaces"))
    console.print(fact_rows(rows_of(properties), "Properties"))
    return output.EXIT_SUCCESS


def set_(name: str, /, *assignments: str, private: bool = False) -> int:
    """Set properties of a network.

    Parameters
    ----------
    name
        The network.
    assignments
        KEY=VALUE, as many as there are: Role (0 none, 1 internal, 3 internal and clients), Metric, AutoMetric, Name…
    private
        Store names that the network does not know as private properties of your own.
    """
    return set_properties(_target(session.client(), name), assignments, private=private)


def order_(*networks: str) -> int:
    """Say in which order the networks are preferred for the cluster's own traffic.

    Parameters
    ----------
    networks
        Every network for internal use, the preferred one first.
    """
    session.client().call("SetNetworkPriorityOrder", networks=networks)
    output.say(f"the order is {', '.join(networks)}", {"networks": list(networks)})
    return output.EXIT_SUCCESS


def _target(client: BlockingClient, name: str) -> Target:
    def control(code: int, data: bytes | None) -> Values:
        return client.call("NetworkControl", network=name, control_code=code, in_buffer=data)

    return Target(ControlObject.NETWORK, name, control)


def _facts(network: JsonObject) -> list[tuple[str, str]]:
    metric = f"{json_int(network, 'metric')}{' (chosen by the cluster)' if network.get('auto_metric') else ''}"
    facts = [
        ("State", output.words(json_text(network, "state_name"))),
        ("Why", json_text(network, "sentence")),
        ("Used by", ROLES[json_int(network, "role") & 3]),
        ("Metric", metric),
        ("Subnets", ", ".join(json_texts(network, "subnets"))),
        ("Id", json_text(network, "id")),
    ]
    return [(name, value) for name, value in facts if value]
