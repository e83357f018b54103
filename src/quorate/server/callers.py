"""Who asks, over TLS: a user whose certificate is on the list.

The handshake has proven that the users' authority signed the certificate. It counts as long as the list of users holds
its serial number, which is looked up at every request, so that a user who was removed is refused at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.database.credentials import Users, user_key
from quorate.peers.tls import Presented

FULL: Final = "full"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: the name that events carry, and what it may do."""

    actor: str
    full_access: bool


@dataclass(frozen=True, slots=True)
class UserList:
    """The users of one cluster, as they are whenever somebody asks."""

    instance_id: str
    users: Users
    now: Callable[[], datetime]

    def caller(self, shown: Presented | None) -> Caller:
        """Tell who shows this certificate. Raises CallerError 1326 when nobody does who may enter."""
        if shown is None or shown.organization != self.instance_id:
            raise _nobody("the certificate is not one of this cluster")
        record = self.users().get(user_key(shown.subject))
        if record is None or record.value.serial != shown.serial:
            raise _nobody(
                f'the certificate of "{shown.subject}" counts no more: the user was removed, or has a newer one'
            )
        if shown.is_expired(self.now()):
            raise _nobody(
                f'the certificate of "{shown.subject}" has expired; "quorate user add" with --replace makes one'
            )
        return Caller(record.value.name, shown.role == FULL and record.value.role == FULL)


def _nobody(sentence: str) -> CallerError:
    return CallerError(Status.ERROR_LOGON_FAILURE, sentence)
