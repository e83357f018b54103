"""``quorate group …``."""

from quorate.cli import output
from quorate.cli.commands.properties import Target, rows_of, set_properties, shown_properties
from quorate.cli.commands.tables import fact_rows, group_rows, resource_rows
from quorate.cli.commands.waiting import settled_group
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.errors import CallerError, FaultError
from quorate.clusapi.json_types import JsonObject, json_objects, json_text
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import GroupState
from quorate.clusapi.status import Status


def list_() -> int:
    """List the groups with their state and owner."""
    groups = session.client().call("ListGroups").objects("groups")
    output.show({"groups": groups}, group_rows(groups) if not session.json else "")
    return output.EXIT_SUCCESS


def show_(name: str, /) -> int:
    """Show a group with its resources and common properties."""
    client = session.client()
    found = client.call("GetGroupId", group=name).text("id")
    groups = [item for item in client.call("ListGroups").objects("groups") if json_text(item, "id") == found]
    if not groups:
        raise CallerError(Status.ERROR_GROUP_NOT_FOUND, f'there is no group "{name}" any more')
    properties, why_not = shown_properties(_target(client, found))
    if session.json:
        output.print_json({**groups[0], "properties": properties})
        return output.EXIT_SUCCESS
    console = output.console()
    console.print(group_rows(groups))
    console.print(resource_rows(json_objects(groups[0], "resources")))
    console.print(why_not or fact_rows(rows_of(properties), "Properties"))
    return output.EXIT_SUCCESS


def online_(name: str, /, *, to: str | None = None, wait: bool = True, timeout: float = 180.0) -> int:
    """Bring a group online.

    Parameters
    ----------
    name
        The group.
    to
        The node to bring it online on; where it is, if left out.
    wait
        Wait until it is online.
    timeout
        Seconds to wait at most.
    """
    return _change("OnlineGroup", name, to, GroupState.ONLINE if wait else None, timeout)


def offline_(name: str, /, *, wait: bool = True, timeout: float = 180.0) -> int:
    """Take a group offline.

    Parameters
    ----------
    name
        The group.
    wait
        Wait until it is offline.
    timeout
        Seconds to wait at most.
    """
    return _change("OfflineGroup", name, None, GroupState.OFFLINE if wait else None, timeout)


def move_(name: str, /, *, to: str | None = None) -> int:
    """Move a group to another node; a virtual machine moves live unless its DefaultMoveType says otherwise.

    Parameters
    ----------
    name
        The group.
    to
        The node to move it to; the best one, if left out.
    """
    status = session.client().call("MoveGroup", group=name, destination=to).number("status")
    sentence = f'"{name}" is on its way' if status == Status.ERROR_IO_PENDING else f'"{name}" is there'
    output.say(sentence, {"group": name, "status": status})
    return output.EXIT_SUCCESS


def set_(name: str, /, *assignments: str, private: bool = False) -> int:
    """Set properties of a group.

    Parameters
    ----------
    name
        The group.
    assignments
        KEY=VALUE, as many as there are; items of a list are separated by commas.
    private
        Store names that the group does not know as private properties of your own.
    """
    return set_properties(_target(session.client(), name), assignments, private=private)


def _target(client: BlockingClient, name: str) -> Target:
    def control(code: int, data: bytes | None) -> Values:
        return client.call("GroupControl", group=name, control_code=code, in_buffer=data)

    return Target(ControlObject.GROUP, name, control)


def _change(operation: str, name: str, to: str | None, wanted: GroupState | None, timeout: float) -> int:
    client = session.client()
    status = client.call(operation, group=name, destination=to).number("status")
    if wanted is None:
        output.say(f'"{name}": {Status(status).meaning}', {"group": name, "status": status})
        return output.EXIT_SUCCESS
    state, node = settled_group(client, name, timeout)
    if state is not wanted:
        raise FaultError(
            Status.ERROR_RESOURCE_FAILED, f'"{name}" is {state.name.lower()}, not {wanted.name.lower()}; see its events'
        )
    facts: JsonObject = {"group": name, "status": 0, "state": int(state), "state_name": state.name, "node": node}
    output.say(f'"{name}" is {state.name.lower()} on {node}', facts)
    return output.EXIT_SUCCESS
