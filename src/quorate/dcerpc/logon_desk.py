"""Where a server's connection logs on: takes the tokens out of the PDUs and makes the shield in the end."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from quorate.dcerpc.errors import LogonRefused
from quorate.dcerpc.pdu import AuthTrailer
from quorate.dcerpc.security import Acceptor, AcceptorFactory, AuthLevel, AuthType, Principal, Shield


@dataclass(frozen=True, slots=True)
class LogonReport:
    """How a logon went: for the audit, and for whoever slows down those that guess."""

    source: str
    user: str
    """As the client said it; empty when it did not come to that."""
    domain: str
    level: AuthLevel
    is_granted: bool
    sentence: str


OnLogon: TypeAlias = Callable[[LogonReport], Awaitable[None]]
"""Awaited before the client is told, so it may take its time; may raise LogonRefused to refuse what was granted."""
BeforeLogon: TypeAlias = Callable[[], Awaitable[None]]
"""Awaited before a token of a client is looked at."""


class Standing(Enum):
    """How far the logon is."""

    OPEN = "nobody has to log on, or somebody has"
    PENDING = "a token of the client is awaited"
    REFUSED = "the logon was refused; there is no second one on this connection"


class LogonDesk:
    """The logon of one connection."""

    def __init__(
        self,
        factory: AcceptorFactory,
        source: str,
        on_logon: OnLogon | None,
        before_logon: BeforeLogon | None = None,
    ) -> None:
        self._factory = factory
        self._source = source
        self._on_logon = on_logon
        self._before_logon = before_logon
        self._acceptor: Acceptor | None = None
        self._kind = AuthType.SPNEGO
        self._level = AuthLevel.NONE
        self._context_id = 0
        self._header_signing = False
        self.standing = Standing.OPEN
        self.shield: Shield | None = None
        self.principal: Principal | None = None

    @property
    def level(self) -> AuthLevel:
        """What is protected now."""
        return AuthLevel.NONE if self.shield is None else self.shield.level

    async def begin(self, auth: AuthTrailer, *, header_signing: bool) -> AuthTrailer:
        """Take the token of a bind and make the answer's. Raises LogonRefused, which is final."""
        self.standing = Standing.REFUSED  # until it is known better
        try:
            self._kind, self._level = AuthType(auth.kind), AuthLevel(auth.level)
        except ValueError as error:
            raise LogonRefused(f"auth type {auth.kind} at level {auth.level} is not known here") from error
        if self._level == AuthLevel.NONE:
            raise LogonRefused("a logon at the level that has none")
        self._context_id = auth.context_id
        self._header_signing = header_signing
        try:
            self._acceptor = self._factory(self._kind, self._level, self._source)
        except LogonRefused as error:
            await self._report(error)
            raise
        return await self._step(auth.value)

    async def go_on(self, auth: AuthTrailer) -> AuthTrailer:
        """Take the token of an auth3 or alter_context and make the answer's. Raises LogonRefused, which is final."""
        was, self.standing = self.standing, Standing.REFUSED
        self.shield = None
        if was != Standing.PENDING:
            raise LogonRefused("a token came when no logon was under way")
        if (auth.kind, auth.level, auth.context_id) != (self._kind, self._level, self._context_id):
            raise LogonRefused("the logon went on at another level than it began")
        return await self._step(auth.value)

    async def _step(self, token: bytes) -> AuthTrailer:
        acceptor = self._acceptor
        assert acceptor is not None
        if self._before_logon is not None:
            await self._before_logon()
        try:
            answer = acceptor.step(token)
        except LogonRefused as error:
            await self._report(error)
            raise
        if acceptor.principal is None:
            self.standing = Standing.PENDING
        else:
            await self._report(None)
            signs_header = self._header_signing or acceptor.principal.mechanism == "ntlm"
            self.shield = Shield(self._kind, self._level, self._context_id, acceptor.session, signs_header)
            self.principal = acceptor.principal
            self.standing = Standing.OPEN
        return AuthTrailer(self._kind, self._level, self._context_id, answer)

    async def _report(self, error: LogonRefused | None) -> None:
        if self._on_logon is None:
            return
        who = self._acceptor.principal if self._acceptor is not None and error is None else None
        await self._on_logon(
            LogonReport(
                source=self._source,
                user=who.user if who is not None else error.user if error is not None else "",
                domain=who.domain if who is not None else "",
                level=self._level,
                is_granted=error is None,
                sentence="let in" if error is None else error.sentence,
            )
        )
