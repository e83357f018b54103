"""Kerberos, where this machine has python-gssapi: pyspnego's acceptor with a keytab behind our own interface.

Nothing here is imported by a server that does not ask for it, and asking is refused where the library is missing.
The keytab must hold ``SERVICE/host@REALM``, the name that clients ask a ticket for.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import spnego
from spnego.exceptions import NegotiateOptions

from quorate.dcerpc.errors import LogonRefused
from quorate.dcerpc.initiators import KERBEROS_LEVELS, MALFORMED, ProxySession
from quorate.dcerpc.security import Acceptor, AuthLevel, Principal, Session

_KEYTAB_VARIABLE: Final = "KRB5_KTNAME"  # the one way to tell the Kerberos library which keytab an acceptor takes


def is_available() -> bool:
    """Tell whether python-gssapi and python-krb5 are installed."""
    return find_spec("gssapi") is not None and find_spec("krb5") is not None


def kerberos_door(keytab: Path, service: str, host: str) -> Callable[[AuthLevel], Acceptor]:
    """Make what makes the acceptors of a service whose key is in that file: one file for the whole process.

    Raises:
        LogonRefused: the libraries are missing, or the file is.
    """
    if not is_available():
        raise LogonRefused("Kerberos needs the Python packages gssapi and krb5; they are not installed")
    if not keytab.is_file():
        raise LogonRefused(f"there is no keytab {keytab}; make it with the key of {service}/{host}")
    os.environ[_KEYTAB_VARIABLE] = f"FILE:{keytab}"
    return lambda level: KerberosAcceptor(service, host, level)


class KerberosAcceptor:
    """One logon by Kerberos."""

    def __init__(self, service: str, host: str, level: AuthLevel) -> None:
        """Begin. Raises LogonRefused; also for the levels that only sign, whose signatures nobody tells the size of."""
        if level not in KERBEROS_LEVELS:
            raise LogonRefused(f"a logon by Kerberos is taken at PRIVACY, not at {level.name}")
        self._level = level
        self._principal: Principal | None = None
        self._session: Session | None = None
        wanted = spnego.ContextReq.integrity | spnego.ContextReq.confidentiality | spnego.ContextReq.mutual_auth
        try:
            self._proxy = spnego.server(
                hostname=host,
                service=service,
                protocol="kerberos",
                options=NegotiateOptions.use_gssapi,
                context_req=wanted | spnego.ContextReq.dce_style,
            )
        except (*MALFORMED, ImportError) as error:
            raise LogonRefused(f"Kerberos cannot be spoken here: {error}") from error

    @property
    def principal(self) -> Principal | None:
        """Who has logged on."""
        return self._principal

    @property
    def session(self) -> Session:
        """The keys of the logon, once it is complete."""
        assert self._session is not None, "the logon is not complete"
        return self._session

    def step(self, token: bytes) -> bytes:
        """Take the client's next token. Raises LogonRefused."""
        try:
            answer = self._proxy.step(token) or b""
        except MALFORMED as error:
            raise LogonRefused(f"the logon by Kerberos did not succeed: {error}") from error
        if self._proxy.complete:
            if self._level == AuthLevel.PRIVACY and not self._proxy.context_attr & spnego.ContextReq.confidentiality:
                raise LogonRefused("the client agrees to less than PRIVACY needs")
            user, _, realm = (self._proxy.client_principal or "").partition("@")
            self._session = ProxySession(self._proxy)
            self._principal = Principal(user, realm, "kerberos")
        return answer
