"""``quorate user …``: who may reach the cluster from other machines."""

import getpass
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.errors import CallerError
from quorate.clusapi.json_types import JsonObject, json_flag, json_text
from quorate.clusapi.status import Status

PasswordFile: TypeAlias = Annotated[str | None, Parameter(allow_leading_hyphen=True)]


def add_(
    name: str,
    /,
    *,
    role: Literal["full", "read"],
    out: Path | None = None,
    days: int | None = None,
    replace: bool = False,
    password_file: PasswordFile = None,
) -> int:
    """Give a user a password or, with --out, a certificate; a user may have both.

    A password is for MS-CMRP, where nobody shows a certificate. It is asked for on the terminal, or read from a file;
    the cluster keeps its NT hash and nothing else.

    A certificate is for HTTPS. Copy the directory to the user's machine, as ~/.config/quorate/CLUSTER: `quorate
    --cluster CLUSTER` finds it there. The private key is made here and sent nowhere.

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
    password_file
        The file whose first line is the password; - is standard input.
    """
    if out is not None and password_file is not None:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER, "--out and --password-file are two credentials: one at a time"
        )
    if out is not None:
        return _certify(name, role, out, days, replace=replace)
    if days is not None or replace:
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            '--days and --replace are for certificates, which need --out; "quorate user passwd" changes a password',
        )
    session.client().call("AddUserAccount", name=name, role=role, password=_password(name, password_file))
    output.say(f'"{name}" may {_MAY[role]}, and logs on with the password', {"user": name, "role": role})
    return output.EXIT_SUCCESS


def passwd_(name: str, /, *, password_file: PasswordFile = None) -> int:
    """Give a user who has a password another one. Connections with the old one end at once.

    Parameters
    ----------
    name
        The user.
    password_file
        The file whose first line is the password; - is standard input. Left out: it is asked for.
    """
    session.client().call("SetUserPassword", name=name, password=_password(name, password_file))
    output.say(f'"{name}" has another password; the old one counts no more', {"user": name})
    return output.EXIT_SUCCESS


def _password(name: str, file: str | None) -> str:
    """Read a password from a file, or ask twice for one. Raises CallerError."""
    if file is not None:
        try:
            text = sys.stdin.readline() if file == "-" else Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
            raise CallerError(Status.ERROR_FILE_NOT_FOUND, f"the password cannot be read: {file}: {reason}") from error
        return text.split("\n", 1)[0].removesuffix("\r")
    if not sys.stdin.isatty():
        raise CallerError(
            Status.ERROR_INVALID_PARAMETER,
            "there is no terminal to ask for the password: use --password-file FILE or -",
        )
    password = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("The same again: ") != password:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "the two are not the same; nothing was changed")
    return password


def _certify(name: str, role: str, out: Path, days: int | None, *, replace: bool) -> int:
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
            json_text(user, "password_changed"),
        )
        for user in users
    ]
    output.console().print(output.table("", ("User", "Role", "Certificate until", "Serial", "Password of"), rows))
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
