"""What holds for the whole command line: which cluster, and whether people or programs read the answer."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from quorate.client.account import Account, account_of, has_password
from quorate.client.address import wire_address
from quorate.client.blocking import BlockingClient

HELP_OF_GLOBAL_OPTIONS = (
    "Everywhere: --cluster PLACE (a cluster's directory, a node's socket, https://HOST:PORT, ncacn_ip_tcp:HOST[PORT]; "
    "default: $QUORATE_CLUSTER, or the pocket cluster of this account), --credentials DIR (what is shown at https; "
    "default: $QUORATE_CREDENTIALS, or what ~/.config/quorate has for it), --user NAME and --password-file FILE (who "
    "logs on at ncacn_ip_tcp; default: $QUORATE_USER, $QUORATE_PASSWORD_FILE; without a file the password is asked "
    "for), --json (the same facts for programs). "
    "Exit codes: 0 success, 1 the cluster refused, 2 a mistake in the command, 3 something broke."
)


@dataclass(slots=True)
class Session:
    """The command line's own options."""

    cluster: str | None = None
    credentials: str | None = None
    user: str | None = None
    password_file: str | None = None
    json: bool = False

    def client(self) -> BlockingClient:
        """Reach the cluster. Raises ClusterError when there is none."""
        account = None if wire_address(self.cluster) is None else self._account()
        return BlockingClient.at(self.cluster, self.credentials, account)

    def _account(self) -> Account:
        if has_password(self.password_file) or not sys.stdin.isatty():
            return account_of(self.user, None, self.password_file)
        account_of(self.user, "")  # a user that is missing is told before a password is asked for
        from getpass import getpass

        return account_of(self.user, getpass("password: "))


session = Session()
"""This process's; ``main`` fills it in."""

_OPTIONS: Final = {
    "--cluster": ("cluster", "a place: a cluster's directory, a node's socket, https://HOST:PORT or ncacn_ip_tcp:HOST"),
    "--credentials": ("credentials", "the directory that holds user.crt, user.key and ca.crt"),
    "--user": ("user", "the name of a user"),
    "--password-file": ("password_file", "a file whose first line is the password"),
}
_OF_USERS: Final = ("--user", "--password-file")
"""What the commands on users take for themselves."""


def take_global_options(arguments: list[str]) -> list[str]:
    """Take the options that may stand anywhere out of the arguments; a mistake is a ValueError for people."""
    rest: list[str] = []
    iterator = iter(arguments)
    for argument in iterator:
        name, equals, value = argument.partition("=")
        if argument == "--":
            rest.extend((argument, *iterator))
        elif argument == "--json":
            session.json = True
        elif name in _OPTIONS and not (rest[:1] == ["user"] and name in _OF_USERS):
            field, what = _OPTIONS[name]
            setattr(session, field, value if equals else _next(iterator, name, what))
        else:
            rest.append(argument)
    return rest


def _next(iterator: Iterator[str], name: str, what: str) -> str:
    value = next(iterator, None)
    if value is None:
        raise ValueError(f"{name} needs {what}")
    return value
