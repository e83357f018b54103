"""``quorate group-set …`` and ``quorate group depend | undepend``: in which order the cluster starts groups."""

from quorate.cli import output
from quorate.cli.commands.properties import Target, set_properties
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject, json_flag, json_text, json_texts
from quorate.clusapi.operation_values import Values
from quorate.clusapi.status import Status

NO_SETS = 'There are no group sets; "quorate group-set create NAME" makes one.'


def list_() -> int:
    """List the group sets with their groups, what they wait for, and whether they are ready."""
    sets = session.client().call("ListGroupSets").objects("group_sets")
    columns = ("Group set", "Groups", "Waits for", "Ready")
    people = output.table("", columns, [_row(one) for one in sets]) if sets and not session.json else NO_SETS
    output.show({"group_sets": sets}, people)
    return output.EXIT_SUCCESS


def create_(name: str, /) -> int:
    """Make an empty group set.

    Parameters
    ----------
    name
        Its name.
    """
    made = session.client().call("CreateGroupSet", name=name)
    output.say(f'group set "{name}" was made', {"group_set": name, "id": made.text("id")})
    return output.EXIT_SUCCESS


def delete_(name: str, /) -> int:
    """Delete a group set on which nothing depends; its groups stay.

    Parameters
    ----------
    name
        The group set.
    """
    session.client().call("DeleteGroupSet", group_set=name)
    output.say(f'group set "{name}" was deleted', {"group_set": name})
    return output.EXIT_SUCCESS


def add_(name: str, /, *groups: str, move: bool = False) -> int:
    """Put groups into a group set.

    Parameters
    ----------
    name
        The group set.
    groups
        Groups, or virtual machines.
    move
        Take them out of the set that they are in, if they are in one.
    """
    for group in _some(groups):
        session.client().call("MoveGroupToGroupSet" if move else "AddGroupToGroupSet", group_set=name, group=group)
        output.say(f'"{group}" is in the group set "{name}"', {"group_set": name, "group": group})
    return output.EXIT_SUCCESS


def remove_(*groups: str) -> int:
    """Take groups out of the group sets that they are in.

    Parameters
    ----------
    groups
        Groups, or virtual machines.
    """
    for group in _some(groups):
        session.client().call("RemoveGroupFromGroupSet", group=group)
        output.say(f'"{group}" is in no group set', {"group": group})
    return output.EXIT_SUCCESS


def depend_(name: str, provider: str | None = None, /, *, expression: str | None = None) -> int:
    """Let the groups of a set wait for another set when the cluster starts them.

    Parameters
    ----------
    name
        The group set.
    provider
        The set that must be ready before it, besides those that must be already.
    expression
        Everything that it waits for from now on: "[A] and ([B] or [C])"; "" is nothing.
    """
    _check_one(provider, expression)
    client = session.client()
    if provider is not None:
        client.call("AddGroupSetDependency", group_set=name, provider_set=provider)
    else:
        client.call("SetGroupSetDependencyExpression", group_set=name, expression=expression)
    output.say(f'the group set "{name}" waits for {provider or expression or "nothing"}', {"group_set": name})
    return output.EXIT_SUCCESS


def undepend_(name: str, provider: str, /) -> int:
    """Let the groups of a set wait for another set no more."""
    session.client().call("RemoveGroupSetDependency", group_set=name, provider_set=provider)
    output.say(f'the group set "{name}" does not wait for "{provider}"', {"group_set": name})
    return output.EXIT_SUCCESS


def set_(name: str, /, *assignments: str, private: bool = False) -> int:
    """Set properties of a group set.

    Parameters
    ----------
    name
        The group set.
    assignments
        KEY=VALUE, as many as there are: ReadyCount, ReadySetting (1 delay, 2 online), ReadyDelay…
    private
        Store names that the group set does not know as private properties of your own.
    """
    return set_properties(_target(session.client(), name), assignments, private=private)


def depend_group_(
    name: str, provider: str | None = None, /, *, group_set: str | None = None, expression: str | None = None
) -> int:
    """Let a group wait for others when the cluster starts it.

    Parameters
    ----------
    name
        The group, or the virtual machine.
    provider
        The group that must be online before it, besides those that must be already.
    group_set
        A group set that must be ready before it.
    expression
        Every group that it waits for from now on: "[A] and ([B] or [C])"; "" is none.
    """
    _check_one(provider, group_set, expression)
    client = session.client()
    if provider is not None:
        client.call("AddGroupDependency", group=name, depends_on=provider)
    elif group_set is not None:
        client.call("AddGroupToGroupSetDependency", group=name, provider_set=group_set)
    else:
        client.call("SetGroupDependencyExpression", group=name, expression=expression)
    output.say(f'"{name}" waits for {provider or group_set or expression or "no group"}', {"group": name})
    return output.EXIT_SUCCESS


def undepend_group_(name: str, provider: str | None = None, /, *, group_set: str | None = None) -> int:
    """Let a group wait for another one, or for a group set, no more.

    Parameters
    ----------
    name
        The group, or the virtual machine.
    provider
        The group that it waits for.
    group_set
        The group set that it waits for.
    """
    _check_one(provider, group_set)
    client = session.client()
    if provider is not None:
        client.call("RemoveGroupDependency", group=name, depends_on=provider)
    else:
        client.call("RemoveGroupToGroupSetDependency", group=name, provider_set=group_set)
    output.say(f'"{name}" does not wait for "{provider or group_set}"', {"group": name})
    return output.EXIT_SUCCESS


def _check_one(*things: str | None) -> None:
    """Refuse anything but one thing to wait for. Raises CallerError 87."""
    if sum(thing is not None for thing in things) != 1:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "name one thing to wait for")


def _some(groups: tuple[str, ...]) -> tuple[str, ...]:
    if not groups:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "name at least one group")
    return groups


def _row(one: JsonObject) -> tuple[str, ...]:
    ready = "yes" if json_flag(one, "ready") else "no"
    return json_text(one, "name"), ", ".join(json_texts(one, "groups")), json_text(one, "depends_on"), ready


def _target(client: BlockingClient, name: str) -> Target:
    def control(code: int, data: bytes | None) -> Values:
        return client.call("GroupSetControl", group_set=name, control_code=code, in_buffer=data)

    return Target(ControlObject.GROUPSET, name, control)
