"""Who may do what with a registry key: what its security descriptor, or one that is handed down to it, says.

A caller with full access counts as an administrator, everybody else as a user.
"""

from quorate.clusapi.errors import CallerError
from quorate.clusapi.security_descriptors import KeyAccess, SecurityDescriptor, effective, sids_of
from quorate.clusapi.status import Status
from quorate.database.registry import Registry, RegistryKey
from quorate.server.call import Call


class KeyRights:
    """The rights of one caller; during one call every key is looked at once."""

    def __init__(self, call: Call) -> None:
        """Look at nothing yet."""
        self._registry: Registry = call.services.database.registry
        self._sids = sids_of(full_access=call.context.full_access)
        self._lineages: dict[str, tuple[RegistryKey, ...]] = {}
        self._nearest: dict[str, str] = {}

    async def key(self, path: str, wanted: int) -> RegistryKey:
        """A key that gives the caller these rights. Raises CallerError: 2, there is none; 5, it does not."""
        key = (await self._lineage(path))[-1]
        if wanted and not (await self.descriptor(path)).grants(self._sids, wanted):
            raise CallerError(
                Status.ERROR_ACCESS_DENIED,
                f"the security descriptor of the key {path!r} does not give this caller the rights 0x{wanted:X}",
            )
        return key

    async def may_read(self, path: str) -> bool:
        """Answer whether the key is there, and its values may be read."""
        try:
            await self.key(path, KeyAccess.QUERY_VALUE)
        except CallerError:
            return False
        return True

    async def check_create(self, path: str) -> None:
        """Refuse to make a key where the nearest one above does not allow it. Raises CallerError 5."""
        nearest = await self.nearest(path)
        if nearest != path:
            await self.key(nearest, KeyAccess.CREATE_SUB_KEY)

    async def descriptor(self, path: str) -> SecurityDescriptor:
        """The descriptor that holds for a key. Raises CallerError 2."""
        own, *above = reversed(await self._lineage(path))
        return effective(own.security, (key.security for key in above))

    async def nearest(self, path: str) -> str:
        """The path itself, or that of the key above that is there."""
        if path not in self._nearest:
            found = path
            while found and not await self._registry.exists(found):
                found = found.rpartition("\\")[0]
            self._nearest[path] = found
        return self._nearest[path]

    async def _lineage(self, path: str) -> tuple[RegistryKey, ...]:
        if path not in self._lineages:
            self._lineages[path] = await self._registry.lineage(path)
        return self._lineages[path]
