"""``quorate resource create | delete | online | offline | restart | fail`` and ``quorate group create | delete``."""

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.status import Status

_SEPARATE_MONITOR = 0x1


def create_group_(name: str, /) -> int:
    """Make an empty group for resources other than virtual machines.

    Parameters
    ----------
    name
        Its name.
    """
    made = session.client().call("CreateGroup", name=name)
    output.say(f'group "{name}" was made', {"group": name, "id": made.text("id")})
    return output.EXIT_SUCCESS


def delete_group_(name: str, /, *, force: bool = False) -> int:
    """Delete a group that holds no resource.

    Parameters
    ----------
    name
        The group.
    force
        Delete it with all that it holds, which must be offline.
    """
    session.client().call("DeleteGroup", group=name, force=force or None)
    output.say(f'group "{name}" was deleted', {"group": name})
    return output.EXIT_SUCCESS


def create_(
    name: str,
    /,
    *parameters: str,
    group: str,
    type: str = "Generic Script",
    separate_monitor: bool = False,
) -> int:
    """Make a resource.

    Parameters
    ----------
    name
        Its name.
    parameters
        KEY=VALUE, private properties to begin with, such as ScriptFilepath=web.sh.
    group
        The group that it is to be in.
    type
        Its resource type.
    separate_monitor
        Give it a monitor process of its own.
    """
    given = dict(_parameter(text) for text in parameters)
    flags = _SEPARATE_MONITOR if separate_monitor else 0
    made = session.client().call("CreateResource", group=group, name=name, type=type, parameters=given, flags=flags)
    output.say(f'resource "{name}" was made in "{group}"', {"resource": name, "id": made.text("id"), "group": group})
    return output.EXIT_SUCCESS


def delete_(name: str, /) -> int:
    """Delete a resource that is offline and that no other depends on.

    Parameters
    ----------
    name
        The resource.
    """
    session.client().call("DeleteResource", resource=name)
    output.say(f'resource "{name}" was deleted', {"resource": name})
    return output.EXIT_SUCCESS


def online_(name: str, /) -> int:
    """Bring a resource online, with all that it depends on.

    Parameters
    ----------
    name
        The resource.
    """
    return _change("OnlineResource", name)


def offline_(name: str, /) -> int:
    """Take a resource offline, with all that depends on it.

    Parameters
    ----------
    name
        The resource.
    """
    return _change("OfflineResource", name)


def restart_(name: str, /) -> int:
    """Take a resource offline and bring it online again, with what depends on it and was online.

    Parameters
    ----------
    name
        The resource.
    """
    return _change("RestartResource", name)


def fail_(name: str, /) -> int:
    """Treat a resource as failed, to see what its restart policy does.

    Parameters
    ----------
    name
        The resource.
    """
    return _change("FailResource", name)


def _change(operation: str, name: str) -> int:
    status = session.client().call(operation, resource=name).number("status")
    output.say(f'"{name}": {Status(status).meaning}', {"resource": name, "status": status})
    return output.EXIT_SUCCESS


def _parameter(text: str) -> tuple[str, JsonValue]:
    key, found, value = text.partition("=")
    if not (key and found):
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f'"{text}" is not KEY=VALUE')
    return key, int(value) if value.isdecimal() and value.isascii() else value
