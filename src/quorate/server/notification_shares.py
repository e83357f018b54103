"""How much of a node's notification ports one user may have, and all of them; pure.

What waits at a port is memory, and every filter is looked at with every event: a client that opens ports and never
reads must not take the node's.
"""

from typing import Final

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.status import Status
from quorate.server.notification_ports import BatchPort, NotifyPort, Port

PORTS: Final = 2000
"""Ports of all users."""
PORTS_OF_USER: Final = 1000
"""As many as a node takes connections, so that each may have one."""
BATCH_PORTS_OF_USER: Final = 32
"""They keep the data of values."""
WISHES_OF_USER: Final = 16384
"""Filters at all ports of a user."""


class Shares:
    """The open ports by user."""

    def __init__(self) -> None:
        """Nobody has any."""
        self._users: dict[Port, str] = {}

    def __len__(self) -> int:
        return len(self._users)

    def enter(self, port: Port, user: str) -> None:
        """Give a user a port. Raises RefusalError 1450 when there are too many, the user's or all."""
        own = sum(isinstance(one, type(port)) for one in self._of(user))
        most = BATCH_PORTS_OF_USER if isinstance(port, BatchPort) else PORTS_OF_USER
        if own >= most:
            raise _refusal(f'"{user}" has {own} ports of this kind open at this node, as many as one user may')
        if len(self._users) >= PORTS:
            raise _refusal(f"{PORTS} notification ports are open at this node, as many as there may be")
        self._users[port] = user

    def leave(self, port: Port) -> None:
        """Take a port back, if it has not been."""
        self._users.pop(port, None)

    def check_wish(self, port: NotifyPort) -> None:
        """Answer whether its user may have one filter more. Raises RefusalError 1450."""
        user = self._users.get(port, "")
        if sum(one.wishes for one in self._of(user) if isinstance(one, NotifyPort)) >= WISHES_OF_USER:
            raise _refusal(f'the notification ports of "{user}" have {WISHES_OF_USER} filters, as many as they may')

    def _of(self, user: str) -> list[Port]:
        return [port for port, owner in self._users.items() if owner == user]


def _refusal(sentence: str) -> RefusalError:
    return RefusalError(Status.ERROR_NO_SYSTEM_RESOURCES, f"{sentence}: close some first")
