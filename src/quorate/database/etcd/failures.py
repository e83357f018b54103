"""What etcd and gRPC say when a call fails, and what that means for the call.

gRPC's status alone never proves that a request was not sent, so nothing is concluded from it. That a transaction was
not carried out is only believed where etcd itself says so before it looks at the request; everything else may have
landed. (It is the caller of etcd, not this module, who sees to it that a write is only sent where somebody listens.)
"""

import re
from typing import Final

_NO_LEADER: Final = "etcdserver: no leader"
_NOT_CARRIED_OUT: Final = frozenset(
    {
        _NO_LEADER,  # said by the interceptor that reads `hasleader`, before the request is looked at
        "etcdserver: too many requests",
        "etcdserver: request is too large",
        "etcdserver: too many operations in txn request",
        "etcdserver: duplicate key given in txn request",
        "etcdserver: permission denied",
        "etcdserver: invalid auth token",
        "etcdserver: user name is empty",
        "etcdserver: not capable",
        "etcdserver: rpc not supported for learner",
    }
)
"""etcd's ``rpctypes/error.go``: refusals that come before the request is proposed."""

_ELSEWHERE: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL", "ABORTED"})
"""Another member may well answer; of all other codes it would say the same."""

_MEANING: Final = {
    _NO_LEADER: "it knows of no leader: the etcd cluster has no quorum, or is just electing one",
    "etcdserver: mvcc: database space exceeded": (
        "etcd's database has reached its quota, and it refuses writes (alarm NOSPACE): compact, defragment, then"
        " disarm the alarm, or raise --quota-backend-bytes"
    ),
    "etcdserver: permission denied": "etcd does not allow it to this certificate's user: grant its role the prefix",
    "etcdserver: user name is empty": "etcd has authentication switched on and our certificate names no user of it",
    "etcdserver: corrupt cluster": "etcd reports that its members' data differ (alarm CORRUPT)",
}


_MISMATCH: Final = (
    (
        r"CERTIFICATE_VERIFY_FAILED: ([^:]+)",
        r"its certificate is not good: \1 (is `ca` the authority that has signed it?)",
    ),
    (r"Peer name \S+ is not in peer certificate", "its certificate does not speak for this address"),
    (r"WRONG_VERSION_NUMBER", "it does not speak TLS (is it meant to be http?)"),
    (r"CERTIFICATE_REQUIRED|TSI_DATA_CORRUPTED|TLSV1_ALERT|SSLV3_ALERT", "it refuses our certificate (`cert`, `key`)"),
    (r"Failed to create security handshaker", "our `ca`, `cert` and `key` do not serve for TLS"),
)
"""What makes TLS impossible, in gRPC's words and in ours: it does not pass by itself."""


class EtcdFailure(Exception):
    """A call that failed. ``moves_on``: another member may answer; ``is_void``: it was surely not carried out."""

    def __init__(self, code: str, details: str) -> None:
        """Keep gRPC's code by name and its details."""
        super().__init__(code, details)
        self.code = code
        self.details = details
        self.moves_on = code in _ELSEWHERE or details == "etcdserver: rpc not supported for learner"
        self.is_void = details in _NOT_CARRIED_OUT
        self.is_compacted = details == "etcdserver: mvcc: required revision has been compacted"
        self.has_no_leader = details == _NO_LEADER

    @property
    def mismatch(self) -> str:
        """Why TLS is impossible between the member and us; empty when that is not the trouble."""
        for pattern, meaning in _MISMATCH:
            if found := re.search(pattern, self.details):
                return found.expand(meaning)
        return ""

    @property
    def reason(self) -> str:
        """What happened, for people."""
        if self.details in _MEANING:
            return _MEANING[self.details]
        if self.code == "DEADLINE_EXCEEDED" or "Handshake read failed" in self.details:
            return "no answer in time"
        return self.mismatch or _short(self.details) or self.code


def _short(details: str) -> str:
    """The last cause of gRPC's nested explanations, without its addresses."""
    _, _, cause = details.rpartition("last error: ")
    cause = re.sub(r"^(UNKNOWN|UNAVAILABLE|INTERNAL): ", "", cause or details)
    cause = re.sub(r"ipv[46]:\S+: ", "", cause)
    cause = re.sub(r"^Failed to connect to remote host: ", "", cause)
    cause = re.sub(r"^errors resolving .*?: \[.*: (.*?)\]$", r"its name is not known: \1", cause)
    return cause.strip()
