"""The client's side of a logon: pyspnego behind our own interface.

What it does of its own accord is told, so that nothing depends on the machine: which provider (another would be taken
as soon as python-gssapi is installed), NTLMv2 only (an environment variable could ask for less), and what a server may
agree to is compared with the level that was asked for, since pyspnego takes anything.
"""

import os
import struct
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import spnego
from spnego import ContextProxy
from spnego.exceptions import NegotiateOptions, SpnegoError
from spnego.iov import BufferType

from quorate.dcerpc.errors import LogonRefused, SecurityError
from quorate.dcerpc.ntlm import check_flags
from quorate.dcerpc.ntlm_crypto import nt_hash
from quorate.dcerpc.ntlm_messages import SIGNATURE as NTLM_SIGNATURE
from quorate.dcerpc.ntlm_messages import challenge_flags
from quorate.dcerpc.security import AuthLevel, AuthType, Session

_OLDEST_VARIABLE: Final = "LM_COMPAT_LEVEL"
KERBEROS_LEVELS: Final = frozenset({AuthLevel.CONNECT, AuthLevel.PRIVACY})
"""At the levels between, a signature tells its own size only once it is made, and it signs that size."""
MALFORMED: Final = (
    *(SpnegoError, ValueError, KeyError, IndexError, TypeError, OverflowError, struct.error),
    AttributeError,  # with python-gssapi, when the first token of all is no good
)
"""What pyspnego raises for a token that it cannot read."""


class Mechanism(Enum):
    """How to log on."""

    SPNEGO = "spnego"
    """NTLMv2 inside of SPNEGO: what servers expect."""
    NTLM = "ntlm"
    KERBEROS = "kerberos"
    """With the ticket that this machine's Kerberos has; needs python-gssapi."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who to log on as. One of password and NT hash; neither is shown when this is printed."""

    user: str
    password: str | None = None
    domain: str = ""
    password_hash: bytes | None = None

    def __post_init__(self) -> None:
        if (self.password is None) == (self.password_hash is None):
            raise ValueError("credentials have either a password or an NT hash")

    def __repr__(self) -> str:
        return f"Credentials({self.domain}\\{self.user})"

    @property
    def nt_hash(self) -> bytes:
        """What NTLM needs."""
        return self.password_hash if self.password_hash is not None else nt_hash(self.password or "")


@dataclass(frozen=True, slots=True)
class Logon:
    """How a client logs on to a server. ``service`` and the host make the name that Kerberos asks a ticket for."""

    credentials: Credentials | None
    level: AuthLevel = AuthLevel.PRIVACY
    mechanism: Mechanism = Mechanism.SPNEGO
    service: str = "host"

    @property
    def kind(self) -> AuthType:
        """The auth type of the PDUs."""
        return {
            Mechanism.SPNEGO: AuthType.SPNEGO,
            Mechanism.NTLM: AuthType.NTLM,
            Mechanism.KERBEROS: AuthType.KERBEROS,
        }[self.mechanism]


class ProxySession:
    """A session that pyspnego carries."""

    def __init__(self, proxy: ContextProxy) -> None:
        self._proxy = proxy
        self._size = proxy.query_message_sizes().header

    @property
    def signature_size(self) -> int:
        """Bytes of every signature."""
        return self._size

    def seal(self, before: bytes, data: bytes, after: bytes) -> tuple[bytes, bytes]:
        """Encrypt the data and sign all three."""
        try:
            sealed = self._proxy.wrap_iov(
                [
                    (BufferType.sign_only, before),
                    (BufferType.data, data),
                    (BufferType.sign_only, after),
                    BufferType.header,
                ]
            ).buffers
        except MALFORMED as error:
            raise SecurityError(f"a fragment cannot be sealed: {error}") from error
        return sealed[1].data or b"", sealed[3].data or b""

    def unseal(self, before: bytes, data: bytes, after: bytes, signature: bytes) -> bytes:
        """Decrypt the data and compare the signature of all three. Raises SecurityError."""
        try:
            return (
                self._proxy.unwrap_iov(
                    [
                        (BufferType.sign_only, before),
                        (BufferType.data, data),
                        (BufferType.sign_only, after),
                        (BufferType.header, signature),
                    ]
                )
                .buffers[1]
                .data
                or b""
            )
        except MALFORMED as error:
            raise SecurityError(f"a sealed fragment is not from the server, or was changed: {error}") from error

    def sign(self, data: bytes) -> bytes:
        """Make a signature."""
        try:
            return self._proxy.sign(data)
        except MALFORMED as error:
            raise SecurityError(f"a fragment cannot be signed: {error}") from error

    def verify(self, data: bytes, signature: bytes) -> None:
        """Compare a signature. Raises SecurityError."""
        try:
            self._proxy.verify(data, signature)
        except MALFORMED as error:
            raise SecurityError(f"a signed fragment is not from the server, or was changed: {error}") from error

    def restart(self, *, outgoing: bool) -> None:
        """Do nothing: pyspnego does it by itself."""


class ProxyInitiator:
    """One logon at a server."""

    def __init__(self, logon: Logon, host: str) -> None:
        """Begin. Raises LogonRefused when this machine cannot log on like that."""
        self._level = logon.level
        self._proxy = _open(logon, host)
        self._session: Session | None = None

    @property
    def is_complete(self) -> bool:
        """Tell whether no more token is awaited."""
        return self._session is not None

    @property
    def session(self) -> Session:
        """The keys of the logon, once it is complete."""
        assert self._session is not None, "the logon is not complete"
        return self._session

    def step(self, token: bytes | None) -> bytes:
        """Make the next token. Raises LogonRefused when the server's token is malformed or too weak."""
        if token is not None and (at := token.find(NTLM_SIGNATURE + b"\2")) >= 0:
            check_flags(challenge_flags(token[at:]), self._level, "server")
        try:
            answer = self._proxy.step(token) or b""
        except MALFORMED as error:
            raise LogonRefused(f"the logon did not succeed: {error}") from error
        if self._proxy.complete:
            wanted = spnego.ContextReq.none
            if self._level >= AuthLevel.CALL:
                wanted |= spnego.ContextReq.integrity
            if self._level == AuthLevel.PRIVACY:
                wanted |= spnego.ContextReq.confidentiality
            if wanted & ~self._proxy.context_attr:
                raise LogonRefused(f"the server agrees to less than {self._level.name} needs")
            self._session = ProxySession(self._proxy)
        return answer


def _open(logon: Logon, host: str) -> ContextProxy:
    if os.environ.get(_OLDEST_VARIABLE, "3") not in {"3", "4", "5"}:
        raise LogonRefused(f"{_OLDEST_VARIABLE} asks for NTLMv1, which is broken; unset it, or set it to 5")
    wanted = spnego.ContextReq.integrity | spnego.ContextReq.replay_detect | spnego.ContextReq.sequence_detect
    wanted |= spnego.ContextReq.confidentiality | spnego.ContextReq.dce_style | spnego.ContextReq.mutual_auth
    try:
        if logon.mechanism == Mechanism.KERBEROS:
            if logon.level not in KERBEROS_LEVELS:
                raise LogonRefused(f"Kerberos is spoken at PRIVACY, not at {logon.level.name}")
            known = logon.credentials
            return spnego.client(
                None if known is None else f"{known.user}@{known.domain}",
                None if known is None else known.password,
                hostname=host,
                service=logon.service,
                context_req=wanted,
                protocol="kerberos",
                options=NegotiateOptions.use_gssapi,
            )
        if logon.credentials is None:
            raise LogonRefused("NTLM needs a user and a password")
        user = f"{logon.credentials.domain}\\{logon.credentials.user}"
        is_bare = logon.mechanism == Mechanism.NTLM
        return spnego.client(
            spnego.NTLMHash(user, nt_hash=logon.credentials.nt_hash.hex()),
            hostname=host,
            service=logon.service,
            context_req=wanted,
            protocol="ntlm" if is_bare else "negotiate",
            options=NegotiateOptions.use_ntlm if is_bare else NegotiateOptions.use_negotiate,
        )
    except _what_opening_raises() as error:
        raise LogonRefused(f"this machine cannot log on by {logon.mechanism.value}: {error}") from error


def _what_opening_raises() -> tuple[type[Exception], ...]:
    """What pyspnego raises, and the Kerberos library by itself where it is installed: for a wrong password, say."""
    found: list[type[Exception]] = [ImportError, *MALFORMED]
    if find_spec("krb5") is not None:
        found.append(import_module("krb5").Krb5Error)
    return tuple(found)
