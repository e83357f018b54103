"""How much a server lets its clients take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one server. Whoever goes over one is refused that, and nobody else notices."""

    connections: int = 1000
    strangers: int = 200
    """Connections of whom nobody knows yet who they are."""
    strangers_of_source: int = 100
    """Likewise, from one address, so that one client does not take the places of all others."""
    logon_within: float = 15.0
    """Seconds from the connection to the end of the logon."""
    stranger_patience: float = 60.0
    """Seconds that a connection without a logon may say nothing."""
    calls: int = 64
    """Calls at a time on one connection, with those that are still arriving."""
    request_size: int = 4 * 1024 * 1024
    """Bytes of all requests that are arriving on one connection."""
    all_requests: int = 64 * 1024 * 1024
    """Bytes of all requests that are arriving in fragments, on all connections."""
    fragments: int = 16384
    """Fragments of one request."""
    contexts: int = 32
    """Presentation contexts of one connection."""
    handles: int = 16384
    """Open context handles of one association group."""
    all_handles: int = 100_000
    """Open context handles of all of them; each takes about half a kilobyte."""
