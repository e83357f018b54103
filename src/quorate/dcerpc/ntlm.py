"""The server's side of an NTLMv2 logon.

Written here and not taken from pyspnego, whose acceptor cannot do what a server must: accounts come from one file that
an environment variable of the process names, in clear text or with domains that must match; NTLMv1 and LM are let in
unless another variable says no; the answer of Samba's clients is refused, since it is packed anew before it is
compared; the comparison takes longer the more is right; and a malformed token raises whatever it happens to raise. The
client's side (:mod:`quorate.dcerpc.initiators`) is pyspnego, so that two implementations meet in every test.

::

    ── negotiate ──▶ challenged ── authenticate ──▶ complete
                                        └────────▶ refused: no further token is taken

Source: [MS-NLMP] 3.2.5.1, 3.3.2.
"""

import hmac
import os
import time
from collections.abc import Callable
from typing import Final

from quorate.dcerpc.errors import LogonRefused
from quorate.dcerpc.ntlm_crypto import NtlmSession, exchange_key, hmac_md5, response_key
from quorate.dcerpc.ntlm_messages import (
    MIC_SIZE,
    Authenticate,
    NtlmFlags,
    ServerNames,
    pack_challenge,
    parse_authenticate,
    parse_negotiate,
)
from quorate.dcerpc.security import Accounts, AuthLevel, LogonAttempt, Principal

_ALWAYS: Final = NtlmFlags.UNICODE | NtlmFlags.NTLM | NtlmFlags.EXTENDED_SESSION_SECURITY
_SIGNED: Final = _ALWAYS | NtlmFlags.SIGN | NtlmFlags.KEY_EXCHANGE | NtlmFlags.KEY_128
_SEALED: Final = _SIGNED | NtlmFlags.SEAL
_OFFERED: Final = _SEALED | NtlmFlags.ALWAYS_SIGN | NtlmFlags.VERSION
_ANNOUNCED: Final = NtlmFlags.TARGET_INFO | NtlmFlags.TARGET_IS_SERVER | NtlmFlags.REQUEST_TARGET
_NOBODY: Final = bytes(16)


def required_flags(level: AuthLevel) -> NtlmFlags:
    """What must be agreed on for a level."""
    if level == AuthLevel.PRIVACY:
        return _SEALED
    return _SIGNED if level >= AuthLevel.CALL else _ALWAYS


def check_flags(flags: NtlmFlags, level: AuthLevel, whose: str) -> None:
    """Refuse what is weaker than a level needs. Raises LogonRefused."""
    if missing := required_flags(level) & ~flags:
        names = ", ".join(flag.name or "" for flag in missing)
        raise LogonRefused(f"the {whose} agrees to less than {level.name} needs: {names} missing")


class NtlmAcceptor:
    """One logon by NTLMv2."""

    def __init__(
        self,
        accounts: Accounts,
        names: ServerNames,
        level: AuthLevel = AuthLevel.PRIVACY,
        source: str = "",
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Let in who is in ``accounts``; ``source`` is the client's address."""
        self._accounts = accounts
        self._names = names
        self._level = level
        self._source = source
        self._clock = clock
        self._take: Callable[[bytes], bytes] = self._challenge
        self._exchanged = b""  # the first two messages
        self._random = b""
        self._session: NtlmSession | None = None
        self._principal: Principal | None = None
        self.attempt: LogonAttempt | None = None
        """Who tried to log on, as soon as that is known."""

    @property
    def principal(self) -> Principal | None:
        """Who has logged on."""
        return self._principal

    @property
    def session(self) -> NtlmSession:
        """The keys of the logon, once it is complete."""
        assert self._session is not None, "the logon is not complete"
        return self._session

    def step(self, token: bytes) -> bytes:
        """Take the next message of the client. Raises LogonRefused, and again at every further step."""
        take, self._take = self._take, self._refuse
        return take(token)

    def _refuse(self, token: bytes) -> bytes:
        raise LogonRefused("the logon is over: no further token is taken")

    def _challenge(self, token: bytes) -> bytes:
        asked = parse_negotiate(token)
        check_flags(asked, self._level, "client")
        self._random = os.urandom(8)
        answer = pack_challenge((asked & _OFFERED) | _ANNOUNCED, self._random, self._names, self._clock())
        self._exchanged = token + answer
        self._take = self._authenticate
        return answer

    def _authenticate(self, token: bytes) -> bytes:
        message = parse_authenticate(token)
        self.attempt = LogonAttempt(message.user, message.domain, message.workstation, self._source)
        check_flags(message.flags, self._level, "client")
        base_key = self._prove(message)
        exchanged = NtlmFlags.KEY_EXCHANGE in message.flags
        session_key = base_key
        if exchanged:
            if len(message.encrypted_session_key) != len(base_key):
                raise LogonRefused("the session key in the authenticate message has not 16 bytes", message.user)
            session_key = exchange_key(base_key, message.encrypted_session_key)
        if message.has_mic:
            mic = hmac_md5(session_key, self._exchanged, message.without_mic)
            if len(message.mic) != MIC_SIZE or not hmac.compare_digest(mic, message.mic):
                raise LogonRefused("the signature of the logon does not fit: a message was changed", message.user)
        self._session = NtlmSession(session_key, is_server=True, exchanged=exchanged)
        self._principal = Principal(message.user, message.domain, "ntlm")
        return b""

    def _prove(self, message: Authenticate) -> bytes:
        """The session's base key, if the answer fits. It takes as long for a user that there is not."""
        assert self.attempt is not None
        known = self._accounts(self.attempt)
        found = b""
        # Windows' capital letters are one for one; some clients write SS for ß.
        for upper in (_upper(message.user), message.user.upper()):
            key = response_key(_NOBODY if known is None else known, upper, message.domain)
            expected = hmac_md5(key, self._random, message.blob)
            if hmac.compare_digest(expected, message.proof):
                found = hmac_md5(key, message.proof)
        if known is None or not found:
            raise LogonRefused("there is no such account, or the password is wrong", message.user)
        return found


def _upper(text: str) -> str:
    return "".join(upper if len(upper := char.upper()) == 1 else char for char in text)
