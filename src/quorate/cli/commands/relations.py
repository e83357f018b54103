"""``quorate resource depend | undepend | regroup | rename`` and ``quorate group rename``."""

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.dependencies import format_dependency, parse_dependency, renamed
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.json_types import json_text
from quorate.clusapi.status import Status


def depend_(name: str, provider: str | None = None, /, *, expression: str | None = None) -> int:
    """Let a resource depend on another one of its group, or show what it depends on.

    Parameters
    ----------
    name
        The resource.
    provider
        What must be online before it, besides what must be already.
    expression
        Everything that it depends on from now on: "[A] and ([B] or [C])"; "" is nothing.
    """
    client = session.client()
    if provider is not None and expression is not None:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "a resource and --expression exclude each other")
    if provider is not None:
        client.call("AddResourceDependency", resource=name, depends_on=provider)
    elif expression is not None:
        client.call("SetResourceDependencyExpression", resource=name, expression=expression)
    return _show(name)


def undepend_(name: str, provider: str, /) -> int:
    """Let a resource depend on another one no more.

    Parameters
    ----------
    name
        The resource.
    provider
        What need not be online before it any more.
    """
    session.client().call("RemoveResourceDependency", resource=name, depends_on=provider)
    return _show(name)


def regroup_(name: str, group: str, /) -> int:
    """Put a resource into another group of the same node, with what depends on it and what it depends on.

    Parameters
    ----------
    name
        The resource. If it runs, it goes on.
    group
        The group.
    """
    session.client().call("ChangeResourceGroup", resource=name, group=group)
    output.say(f"{name} is in {group} now", {"resource": name, "group": group})
    return output.EXIT_SUCCESS


def rename_resource_(name: str, new_name: str, /) -> int:
    """Give a resource another name."""
    session.client().call("SetResourceName", resource=name, name=new_name)
    output.say(f"{name} is called {new_name} now", {"name": new_name})
    return output.EXIT_SUCCESS


def rename_group_(name: str, new_name: str, /) -> int:
    """Give a group, and so a virtual machine, another name."""
    session.client().call("SetGroupName", group=name, name=new_name)
    output.say(f"{name} is called {new_name} now", {"name": new_name})
    return output.EXIT_SUCCESS


def _show(name: str) -> int:
    """Show what a resource depends on, by names."""
    client = session.client()
    expression = client.call("GetResourceDependencyExpression", resource=name).text("expression")
    resources = client.call("ListResources").objects("resources")
    names = {json_text(item, "id"): json_text(item, "name") for item in resources}
    shown = format_dependency(renamed(parse_dependency(expression), lambda id_: ResourceId(names.get(id_, id_))))
    facts = {"resource": name, "depends_on": expression, "depends_on_names": shown}
    output.say(f"{name} depends on {shown}" if shown else f"{name} depends on nothing", facts)
    return output.EXIT_SUCCESS
