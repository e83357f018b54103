"""``quorate type …``: resource types."""

from quorate.cli import output
from quorate.cli.commands.properties import (
    Target,
    common_properties,
    private_properties,
    rows_of,
    set_properties,
)
from quorate.cli.commands.tables import fact_rows
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.json_types import JsonObject, json_text
from quorate.clusapi.operation_values import Values
from quorate.clusapi.resource_types import standard_type
from quorate.clusapi.states import ClusterEnum, ResourceTypeEnum


def list_() -> int:
    """List the resource types, and whether resources of them can be made here."""
    entries = session.client().call("CreateEnum", mask=int(ClusterEnum.RESTYPE)).objects("entries")
    types = [_facts(json_text(entry, "name")) for entry in entries]
    rows = [(json_text(one, "name"), json_text(one, "refusal") or "resources can be made") for one in types]
    output.show({"types": types}, output.table("", ("Type", "Here"), rows) if not session.json else "")
    return output.EXIT_SUCCESS


def show_(name: str, /) -> int:
    """Show a resource type with its properties and its resources: which networks memory takes, …

    Parameters
    ----------
    name
        The type, such as "Virtual Machine".
    """
    client = session.client()
    found = client.call("CreateResTypeEnum", type=name, mask=int(ResourceTypeEnum.RESOURCES)).objects("entries")
    resources = [json_text(entry, "name") for entry in found]
    target = _target(client, name)
    common, private = common_properties(target), private_properties(target)
    facts = _facts(_real_name(client, name))
    if session.json:
        output.print_json({**facts, "resources": resources, "properties": common, "private_properties": private})
        return output.EXIT_SUCCESS
    here = json_text(facts, "refusal") or "resources can be made"
    console = output.console()
    rows = [("Type", json_text(facts, "name")), ("Here", here), ("Resources", ", ".join(resources) or "none")]
    console.print(fact_rows(rows))
    console.print(fact_rows(rows_of(common), "Properties"))
    if private:
        console.print(fact_rows(rows_of(private), "Private properties"))
    return output.EXIT_SUCCESS


def create_(
    name: str, /, *, display_name: str = "", looks_alive: int | None = None, is_alive: int | None = None
) -> int:
    """Register a resource type that a package on the nodes carries out.

    Parameters
    ----------
    name
        Its name: that of the entry point in the group quorate.resource_types.
    display_name
        The name to show, if it is another.
    looks_alive
        Milliseconds between two cheap checks; 5000, if left out.
    is_alive
        Milliseconds between two thorough checks; 60000, if left out.
    """
    client = session.client()
    client.call("CreateResourceType", name=name, display_name=display_name, looks_alive=looks_alive, is_alive=is_alive)
    output.say(f'the resource type "{name}" was registered', {"type": name})
    return output.EXIT_SUCCESS


def delete_(name: str, /) -> int:
    """Delete a resource type of which there is no resource.

    Parameters
    ----------
    name
        The type.
    """
    session.client().call("DeleteResourceType", type=name)
    output.say(f'the resource type "{name}" was deleted', {"type": name})
    return output.EXIT_SUCCESS


def set_(name: str, /, *assignments: str, private: bool = False) -> int:
    """Set properties of a resource type, common or private as its tables have them.

    Parameters
    ----------
    name
        The type, such as "Virtual Machine".
    assignments
        KEY=VALUE, as many as there are: MigrationNetworkOrder, MigrationExcludeNetworks, MoveTypeThreshold…
    private
        Store names that the type does not know as private properties of your own.
    """
    return set_properties(_target(session.client(), name), assignments, private=private)


def _target(client: BlockingClient, name: str) -> Target:
    def control(code: int, data: bytes | None) -> Values:
        return client.call("ResourceTypeControl", type=name, control_code=code, in_buffer=data)

    return Target(ControlObject.RESOURCE_TYPE, name, control)


def _real_name(client: BlockingClient, name: str) -> str:
    """As it is written; people do not mind case."""
    entries = client.call("CreateEnum", mask=int(ClusterEnum.RESTYPE)).objects("entries")
    names = (json_text(entry, "name") for entry in entries)
    return next((one for one in names if one.casefold() == name.casefold()), name)


def _facts(name: str) -> JsonObject:
    facts = standard_type(name)
    return {"name": name, "standard": facts is not None, "refusal": "" if facts is None else facts.refusal}
