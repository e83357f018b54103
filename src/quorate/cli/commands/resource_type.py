"""``quorate type …``: resource types."""

from quorate.cli import output
from quorate.cli.commands.properties import Target, set_properties
from quorate.cli.session import session
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.json_types import JsonObject, json_text
from quorate.clusapi.operation_values import Values
from quorate.clusapi.resource_types import standard_type
from quorate.clusapi.states import ClusterEnum


def list_() -> int:
    """List the resource types, and whether resources of them can be made here."""
    entries = session.client().call("CreateEnum", mask=int(ClusterEnum.RESTYPE)).objects("entries")
    types = [_facts(json_text(entry, "name")) for entry in entries]
    rows = [(json_text(one, "name"), json_text(one, "refusal") or "resources can be made") for one in types]
    output.show({"types": types}, output.table("", ("Type", "Here"), rows) if not session.json else "")
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
    client = session.client()

    def control(code: int, data: bytes | None) -> Values:
        return client.call("ResourceTypeControl", type=name, control_code=code, in_buffer=data)

    return set_properties(Target(ControlObject.RESOURCE_TYPE, name, control), assignments, private=private)


def _facts(name: str) -> JsonObject:
    facts = standard_type(name)
    return {"name": name, "standard": facts is not None, "refusal": "" if facts is None else facts.refusal}
