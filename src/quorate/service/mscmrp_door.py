"""The node's door for programs that speak MS-CMRP: the interface at its port, and the endpoint mapper at 135."""

from quorate.database.accounts import Accounts
from quorate.dcerpc.epm import PORT, Endpoint, EndpointMapper
from quorate.dcerpc.server import RpcServer
from quorate.engine.view import ClusterView
from quorate.server.audit import Audit, AuditedCall
from quorate.server.dispatcher import Dispatcher
from quorate.server.mscmrp.calls import AnsweredCall
from quorate.server.mscmrp.face import MscmrpFace
from quorate.server.mscmrp.fresh_accounts import FreshAccounts
from quorate.server.mscmrp.logon import Logons
from quorate.server.services import NodeServices
from quorate.service.configuration import MscmrpSettings


class MscmrpDoor:
    """Listens from `open` to `close`."""

    def __init__(
        self,
        settings: MscmrpSettings,
        services: NodeServices,
        dispatcher: Dispatcher,
        view: ClusterView,
        audit: Audit,
    ) -> None:
        """Open nothing yet. The view has been started."""
        self._settings = settings
        self._audit = audit
        fresh = FreshAccounts(lambda: view.snapshot, services.database.snapshot)
        accounts = Accounts(fresh.records)
        self._logons = Logons(accounts, audit, computer=services.node_name, domain=view.snapshot.cluster.name)
        self._face = MscmrpFace(services, dispatcher, self._logons, self._on_answered)
        self._server = RpcServer(
            self._face.interface,
            door=self._logons.door,
            on_logon=self._logons.on_logon,
            before_logon=fresh.refresh,
        )
        self._mapper: RpcServer | None = None
        self._logons.put_out_strangers(self._server)
        self._unsubscribe = view.subscribe(lambda snapshot: self._logons.put_out_strangers(self._server))

    async def open(self) -> None:
        """Answer, and tell where, if that is wanted. Raises FaultError 1117 when an address cannot be had."""
        place = self._settings.listen
        await self._server.start(place.host, place.port)
        if not self._settings.endpoint_mapper:
            return
        mapper = EndpointMapper()
        mapper.register(Endpoint(self._face.interface.syntax, self._server.port, "Quorate"))
        self._mapper = RpcServer(mapper.interface)
        # The nodes of a pocket cluster are at one address: whichever takes a connection names its own port.
        await self._mapper.start(place.host, PORT, shared=True)

    async def close(self) -> None:
        """End every call and connection."""
        self._unsubscribe()
        if self._mapper is not None:
            await self._mapper.close()
        await self._server.close()

    def _on_answered(self, answered: AnsweredCall) -> None:
        self._audit.note(
            AuditedCall(
                user=answered.caller.actor,
                source=answered.source,
                operation=answered.method,
                about=answered.about,
                status=answered.status,
                # To open something for everything takes full access, and changes nothing.
                changes=answered.changes and not answered.method.startswith("Open"),
            )
        )
