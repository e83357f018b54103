"""What holds for the whole command line: which cluster, and whether people or programs read the answer."""

from dataclasses import dataclass

from quorate.client.blocking import BlockingClient

HELP_OF_GLOBAL_OPTIONS = (
    "Everywhere: --cluster PLACE (a cluster's directory, a node's socket, or https://HOST:PORT; default: "
    "$QUORATE_CLUSTER, or the pocket cluster of this account), --credentials DIR (what is shown to a cluster on other "
    "machines; default: $QUORATE_CREDENTIALS, or what ~/.config/quorate has for it), --json (the same facts for "
    "programs). "
    "Exit codes: 0 success, 1 the cluster refused, 2 a mistake in the command, 3 something broke."
)


@dataclass(slots=True)
class Session:
    """The command line's own options."""

    cluster: str | None = None
    credentials: str | None = None
    json: bool = False

    def client(self) -> BlockingClient:
        """Reach the cluster. Raises ClusterError when there is none."""
        return BlockingClient.at(self.cluster, self.credentials)


session = Session()
"""This process's; ``main`` fills it in."""


def take_global_options(arguments: list[str]) -> list[str]:
    """Take the options that may stand anywhere out of the arguments; a mistake is a ValueError for people."""
    rest: list[str] = []
    iterator = iter(arguments)
    for argument in iterator:
        if argument == "--":
            rest.extend((argument, *iterator))
        elif argument == "--json":
            session.json = True
        elif argument == "--cluster":
            place = next(iterator, None)
            if place is None:
                raise ValueError("--cluster needs a place: a cluster's directory, a node's socket or https://HOST:PORT")
            session.cluster = place
        elif argument.startswith("--cluster="):
            session.cluster = argument.removeprefix("--cluster=")
        elif argument == "--credentials":
            directory = next(iterator, None)
            if directory is None:
                raise ValueError("--credentials needs the directory that holds user.crt, user.key and ca.crt")
            session.credentials = directory
        elif argument.startswith("--credentials="):
            session.credentials = argument.removeprefix("--credentials=")
        else:
            rest.append(argument)
    return rest
