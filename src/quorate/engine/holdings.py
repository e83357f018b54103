"""What this node owns at this moment: the groups, their records as this node knows them, and the host they run in."""

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import GroupId
from quorate.clusapi.status import Status
from quorate.engine.context import EngineContext
from quorate.engine.hosted import HostedVm, OwnedGroup
from quorate.engine.migrations import Migrations
from quorate.hosting.host import Host


class Holdings:
    """Shared by the parts of the engine that act on the groups of this node. `Groups` fills it."""

    def __init__(self, context: EngineContext, migrations: Migrations) -> None:
        """Own nothing."""
        self.context = context
        self.migrations = migrations
        self.owned: dict[GroupId, OwnedGroup] = {}
        self.attached: dict[GroupId, tuple[int, ...]] = {}
        """The groups that the host has, with the revisions of the facts that it has of them."""
        self._host: Host | None = None

    def bind(self, host: Host) -> None:
        """Know the host of resources; before anything is recovered."""
        self._host = host

    @property
    def host(self) -> Host:
        """The host of this node's resources."""
        assert self._host is not None, "groups are followed once there is a host"
        return self._host

    def find(self, group: GroupId) -> OwnedGroup | None:
        """A group, if this node owns it."""
        return self.owned.get(group)

    def get(self, group: GroupId) -> OwnedGroup:
        """A group. Raises RefusalError 5016 when this node does not own it."""
        owned = self.owned.get(group)
        if owned is None:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, "this node does not own the group")
        return owned

    def is_busy(self, group: GroupId) -> bool:
        """Tell whether a migration, or the recovery of one, has the say over a group."""
        migrations = self.migrations
        arriving = any(session.group == group for session in migrations.incoming.values())
        return arriving or group in migrations.outgoing or group in migrations.recovering

    def runs_vm(self, group: GroupId) -> bool:
        """Tell whether a virtual machine of a group has a process here, whatever that does."""
        owned = self.owned.get(group)
        return isinstance(owned, HostedVm) and owned.instance is not None
