"""Who logs on over MS-CMRP: users with passwords by NTLM, of any domain; slowed down when they guess, and written down.

An account counts at every call: who was removed, or has another password since the logon, is refused the next one.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.accounts import Account, Accounts
from quorate.database.records import Versioned
from quorate.dcerpc.acceptors import LogonDoor
from quorate.dcerpc.errors import LogonRefused
from quorate.dcerpc.logon_desk import LogonReport
from quorate.dcerpc.ntlm_messages import ServerNames
from quorate.dcerpc.security import LogonAttempt, Principal
from quorate.dcerpc.server import RpcServer
from quorate.server.audit import Audit, AuditedLogon
from quorate.server.callers import Caller
from quorate.server.mscmrp.slow_down import SlowDown

_GUESSED: Final = "too many wrong passwords of late: no password is looked at for {:.1f} s more"


@dataclass(slots=True)
class Logons:
    """The logons of one node's MS-CMRP door: who is let in, how fast, and that it is written down."""

    accounts: Accounts
    audit: Audit
    computer: str
    """The node's name, which clients show."""
    domain: str
    """The cluster's."""
    clock: Callable[[], float] = time.monotonic
    _slow_down: SlowDown = field(default_factory=SlowDown)
    _known: Mapping[str, Versioned[Account]] = field(default_factory=dict)
    """The accounts when it was looked last who is to be put out."""

    @property
    def door(self) -> LogonDoor:
        """What makes the acceptors of a server."""
        return LogonDoor(self._nt_hash, ServerNames(self.computer, self.computer, self.domain, self.domain))

    def caller(self, principal: Principal | None) -> Caller:
        """Tell what the account may do now. Raises CallerError 5 when it is gone."""
        account = None if principal is None else self.accounts.find(principal.user)
        if account is None:
            who = "nobody has logged on" if principal is None else f'the user "{principal.user}" was removed'
            raise CallerError(Status.ERROR_ACCESS_DENIED, who)
        return Caller(account.name, account.full_access)

    async def on_logon(self, report: LogonReport) -> None:
        """Write a logon down, and hold the answer back when somebody guesses.

        Raises LogonRefused when the password was changed meanwhile.
        """
        now, account = self.clock(), keys.fold(report.user)
        self.audit.note_logon(AuditedLogon(report.user, report.source, report.is_granted, report.sentence))
        if not report.user or self._slow_down.closed_for(account, report.source, now):
            return  # no password was looked at
        if not report.is_granted:
            await asyncio.sleep(self._slow_down.on_refused(account, report.source, now))
            return
        let_in = self.accounts.find(report.user)
        await asyncio.sleep(self._slow_down.on_granted(account, report.source, now))
        if self.accounts.find(report.user) != let_in:
            raise LogonRefused("the password was changed during the logon", report.user)

    def put_out_strangers(self, server: RpcServer) -> None:
        """End the connections of whoever was removed, or got another password, since the last call of this."""
        before, self._known = self._known, self.accounts.records()
        if before is self._known:
            return
        changed = {name for name, record in before.items() if self._known.get(name) != record}
        if changed:
            server.put_out(lambda principal: keys.fold(principal.user) in changed)

    def _nt_hash(self, attempt: LogonAttempt) -> bytes | None:
        closed = self._slow_down.closed_for(keys.fold(attempt.user), attempt.source, self.clock())
        if closed:
            raise LogonRefused(_GUESSED.format(closed), attempt.user)
        account = self.accounts.find(attempt.user)
        return None if account is None else account.nt_hash
