"""``quorate user …``: who may reach the cluster from other machines."""

from pathlib import Path
from typing import Literal

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.json_types import JsonObject, json_flag, json_text


def add_(
    name: str,
    /,
    *,
    role: Literal["full", "read"],
    out: Path,
    days: int | None = None,
    replace: bool = False,
) -> int:
    """Certify a user, and write the credentials to a directory.

    Copy the directory to the user's machine, as ~/.config/quorate/CLUSTER: `quorate --cluster CLUSTER` finds it there.
    The private key is made here and sent nowhere.

    Parameters
    ----------
    name
        The user's name; events carry it.
    role
        full may do everything, read may look.
    out
        The directory for user.crt, user.key, ca.crt and cluster.json.
    days
        How long the certificate is good; 365 unless said otherwise.
    replace
        Give a user who has a certificate another one. The old one counts no more.
    """
    from quorate.client.credentials import add_user

    user = add_user(session.client(), name, role, out, days=days, replace=replace)
    facts: JsonObject = {
        "user": user.name,
        "role": user.role,
        "cluster": user.cluster,
        "directory": str(user.directory),
        "not_after": user.not_after,
        "nodes": user.nodes,
    }
    hint = "" if user.nodes else '; no node has a door for other machines yet: "listen" in its configuration opens one'
    output.say(f'"{name}" may {_MAY[role]} until {user.not_after}; the credentials are in {out}{hint}', facts)
    return output.EXIT_SUCCESS


def list_() -> int:
    """List the users who may reach the cluster from other machines."""
    users = session.client().call("ListUsers").objects("users")
    if session.json:
        output.print_json({"users": users})
        return output.EXIT_SUCCESS
    rows = [
        (
            json_text(user, "name"),
            json_text(user, "role"),
            "Expired" if json_flag(user, "expired") else json_text(user, "not_after"),
            json_text(user, "serial"),
        )
        for user in users
    ]
    output.console().print(output.table("", ("User", "Role", "Until", "Serial"), rows))
    return output.EXIT_SUCCESS


def remove_(name: str, /, *, yes: bool = False) -> int:
    """Let a user in no more, at once.

    Parameters
    ----------
    name
        The user.
    yes
        Do not ask.
    """
    if not output.confirmed(f'Remove the user "{name}"? Connections end at once.', yes=yes):
        return output.EXIT_REFUSAL
    status = session.client().call("RemoveUser", name=name).number("status")
    output.say(f'"{name}" is refused from now on', {"user": name, "status": status})
    return output.EXIT_SUCCESS


_MAY = {"full": "do everything", "read": "look"}
