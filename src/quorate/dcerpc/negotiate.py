"""The server's side of SPNEGO: the client offers mechanisms, we take the first that we have, and both sign the offer.

::

    ── init ──▶ negotiating ── response ──▶ … ── response ──▶ complete
                     └──────────────── anything amiss ──────▶ refused: no further token is taken

The signature over the client's list shows that nobody has taken a better mechanism out of it on the way. It must come
when we did not take the client's first choice, and it is compared whenever it comes. After it the ciphers begin anew,
while the sequence of signatures goes on.

Source: RFC 4178 section 5; [MS-SPNG] 3.3.
"""

from collections.abc import Callable, Mapping

from quorate.dcerpc.errors import LogonRefused, SecurityError
from quorate.dcerpc.ntlm_messages import SIGNATURE as NTLM_SIGNATURE
from quorate.dcerpc.security import Acceptor, Principal, Session
from quorate.dcerpc.spnego_tokens import (
    NTLM_OID,
    InitToken,
    NegState,
    ResponseToken,
    pack_response,
    parse_token,
)


class SpnegoAcceptor:
    """One logon by whatever mechanism both sides have."""

    def __init__(self, mechanisms: Mapping[str, Callable[[], Acceptor]]) -> None:
        """Take the mechanisms, by their object identifiers."""
        self._mechanisms = mechanisms
        self._take: Callable[[bytes], bytes] = self._begin
        self._inner: Acceptor | None = None
        self._list_der = b""
        self._needs_mic = False
        self._is_complete = False

    @property
    def principal(self) -> Principal | None:
        """Who has logged on."""
        return self._inner.principal if self._inner is not None and self._is_complete else None

    @property
    def session(self) -> Session:
        """The keys of the logon, once it is complete."""
        assert self._inner is not None, "the logon is not complete"
        assert self._is_complete, "the logon is not complete"
        return self._inner.session

    @property
    def inner(self) -> Acceptor | None:
        """The mechanism's own acceptor, once it is chosen."""
        return self._inner

    def step(self, token: bytes) -> bytes:
        """Take the client's next token. Raises LogonRefused, and again at every further step."""
        take, self._take = self._take, self._refuse
        return take(token)

    def _refuse(self, token: bytes) -> bytes:
        raise LogonRefused("the logon is over: no further token is taken")

    def _begin(self, token: bytes) -> bytes:
        if token.startswith(NTLM_SIGNATURE):
            return self._begin_bare(token)
        offer = parse_token(token)
        if not isinstance(offer, InitToken):
            raise LogonRefused("a negotiation must begin with an offer of mechanisms")
        chosen = next((oid for oid in offer.mechanisms if oid in self._mechanisms), None)
        if chosen is None:
            raise LogonRefused(f"none of the mechanisms {', '.join(offer.mechanisms)} is known here")
        self._inner = self._mechanisms[chosen]()
        self._list_der = offer.list_der
        self._needs_mic = chosen != offer.mechanisms[0]
        self._take = self._go_on
        # The token of the offer is of the client's first choice, and of no use for any other.
        inner = None if self._needs_mic or offer.token is None else self._inner.step(offer.token)
        return self._answer(inner, None, chosen)

    def _begin_bare(self, token: bytes) -> bytes:
        """Serve a client that says SPNEGO and sends what it would have put into it."""
        if NTLM_OID not in self._mechanisms:
            raise LogonRefused("NTLM is not known here")
        self._inner = self._mechanisms[NTLM_OID]()
        self._take = self._go_on_bare
        return self._inner.step(token)

    def _go_on_bare(self, token: bytes) -> bytes:
        assert self._inner is not None
        answer = self._inner.step(token)
        self._is_complete = self._inner.principal is not None
        if not self._is_complete:
            self._take = self._go_on_bare
        return answer

    def _go_on(self, token: bytes) -> bytes:
        assert self._inner is not None
        response = parse_token(token)
        if not isinstance(response, ResponseToken) or response.state == NegState.REJECT:
            raise LogonRefused("the client has broken off the negotiation")
        self._take = self._go_on
        inner = None
        if response.token is not None:
            if self._inner.principal is not None:
                raise LogonRefused("a token came after the last one")
            inner = self._inner.step(response.token)
        return self._answer(inner, response.mic, None)

    def _answer(self, inner: bytes | None, mic: bytes | None, chosen: str | None) -> bytes:
        assert self._inner is not None
        own_mic = None
        if self._inner.principal is not None:
            if mic is not None:
                own_mic = self._exchange_mics(mic)
            self._is_complete = own_mic is not None or not self._needs_mic
        elif mic is not None:
            raise LogonRefused("a signature came before there was a key to make it with")
        state = NegState.COMPLETED if self._is_complete else NegState.INCOMPLETE
        if chosen is not None and self._needs_mic:
            state = NegState.REQUEST_MIC
        if self._is_complete:
            self._take = self._refuse
        return pack_response(ResponseToken(state, chosen, inner or None, own_mic))

    def _exchange_mics(self, mic: bytes) -> bytes:
        assert self._inner is not None
        session = self._inner.session
        try:
            session.verify(self._list_der, mic)
        except SecurityError as error:
            raise LogonRefused(
                "the signature over the offered mechanisms does not fit: the offer was changed"
            ) from error
        session.restart(outgoing=False)
        own_mic = session.sign(self._list_der)
        session.restart(outgoing=True)
        return own_mic
