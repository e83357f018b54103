"""What holds for the whole command line: which cluster, and whether people or programs read the answer."""

from dataclasses import dataclass

from quorate.client.blocking import BlockingClient

HELP_OF_GLOBAL_OPTIONS = (
    "Everywhere: --cluster PLACE (a pocket cluster's directory or a node's socket; default: $QUORATE_CLUSTER, or the "
    "pocket cluster of this account), --json (the same facts for programs). "
    "Exit codes: 0 success, 1 the cluster refused, 2 a mistake in the command, 3 something broke."
)


@dataclass(slots=True)
class Session:
    """The command line's own options."""

    cluster: str | None = None
    json: bool = False

    def client(self) -> BlockingClient:
        """Reach the cluster. Raises ClusterError when there is none."""
        return BlockingClient.at(self.cluster)


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
                raise ValueError("--cluster needs a place: a pocket cluster's directory or a node's socket")
            session.cluster = place
        elif argument.startswith("--cluster="):
            session.cluster = argument.removeprefix("--cluster=")
        else:
            rest.append(argument)
    return rest
