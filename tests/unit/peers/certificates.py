"""A cluster's authorities and the identities that they certify, for tests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from quorate.peers.authority import Authority, create_authority, issue_node, issue_user, new_request
from quorate.peers.identity import IdentityPems, NodeIdentity, write_private

INSTANCE = "11111111-2222-3333-4444-555555555555"
OTHER_INSTANCE = "99999999-2222-3333-4444-555555555555"
LOCAL_NAMES = ("127.0.0.1", "::1", "localhost")


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Authorities:
    """The two authorities of a cluster."""

    nodes: Authority
    users: Authority
    instance_id: str = INSTANCE

    @classmethod
    def make(cls, instance_id: str = INSTANCE) -> "Authorities":
        return cls(
            create_authority("Quorate nodes", instance_id, now()),
            create_authority("Quorate users", instance_id, now()),
            instance_id,
        )

    def identity(
        self,
        directory: Path,
        node: str,
        *,
        days: float = 90,
        at: datetime | None = None,
        instance_id: str | None = None,
    ) -> NodeIdentity:
        """Certify a node and write its files."""
        key, request = new_request(node)
        certificate = issue_node(
            self.nodes, request, node, instance_id or self.instance_id, LOCAL_NAMES, at or now(), days
        )
        identity = NodeIdentity(directory)
        identity.save(IdentityPems(key, certificate, self.nodes.certificate_pem, self.users.certificate_pem))
        return identity

    def credentials(
        self, directory: Path, name: str, role: str = "full", *, days: float = 365, at: datetime | None = None
    ) -> bytes:
        """Certify a user, write what a client needs, and give the certificate."""
        key, request = new_request(name)
        certificate = issue_user(self.users, request, name, role, self.instance_id, at or now(), days)
        directory.mkdir(parents=True, exist_ok=True)
        write_private(directory / "user.key", key)
        write_private(directory / "user.crt", certificate)
        write_private(directory / "ca.crt", self.nodes.certificate_pem)
        return certificate


LONG_AGO = timedelta(days=200)
