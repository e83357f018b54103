"""Which logons a server takes: NTLMv2, bare or in SPNEGO, and Kerberos where this machine has it."""

from collections.abc import Callable
from dataclasses import dataclass

from quorate.dcerpc.errors import LogonRefused
from quorate.dcerpc.negotiate import SpnegoAcceptor
from quorate.dcerpc.ntlm import NtlmAcceptor
from quorate.dcerpc.ntlm_messages import ServerNames
from quorate.dcerpc.security import Acceptor, Accounts, AuthLevel, AuthType
from quorate.dcerpc.spnego_tokens import KERBEROS_OID, MS_KERBEROS_OID, NTLM_OID


@dataclass(frozen=True, slots=True)
class LogonDoor:
    """Makes the acceptors of a server. ``kerberos`` makes one for Kerberos, see :mod:`quorate.dcerpc.kerberos`."""

    accounts: Accounts
    names: ServerNames
    kerberos: Callable[[AuthLevel], Acceptor] | None = None

    def __call__(self, kind: AuthType, level: AuthLevel, source: str) -> Acceptor:
        """Begin the logon of a client at that address. Raises LogonRefused for a type that is not spoken here."""

        def ntlm() -> Acceptor:
            return NtlmAcceptor(self.accounts, self.names, level, source)

        if kind == AuthType.NTLM:
            return ntlm()
        kerberos = self.kerberos
        if kind == AuthType.KERBEROS:
            if kerberos is None:
                raise LogonRefused("Kerberos is not set up here")
            return kerberos(level)
        mechanisms: dict[str, Callable[[], Acceptor]] = {NTLM_OID: ntlm}
        if kerberos is not None:
            mechanisms |= dict.fromkeys((KERBEROS_OID, MS_KERBEROS_OID), lambda: kerberos(level))
        return SpnegoAcceptor(mechanisms)
