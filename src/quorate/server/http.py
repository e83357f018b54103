"""The HTTP face: JSON over the node's unix socket, which only its owner may open.

For other machines there is the same over TLS: :mod:`quorate.server.https`.
"""

import asyncio
import json
import os
import pwd
import re
import socket
import uuid
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from uvicorn.config import Config
from uvicorn.server import Server

from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.operation_types import Operation
from quorate.clusapi.operation_values import Values, inputs_from_json, outputs_to_json
from quorate.clusapi.operations import needs_full_access
from quorate.clusapi.status import Status
from quorate.database.migration_history import PastMigration
from quorate.server import lookup, streams
from quorate.server.audit import Audit, AuditedCall
from quorate.server.callers import Caller
from quorate.server.dispatcher import Dispatcher, operation_named
from quorate.server.handlers.events import event_test
from quorate.server.metrics import CONTENT_TYPE, metrics_page
from quorate.server.openapi import docs_page, openapi
from quorate.server.services import CallContext, NodeServices
from quorate.server.version import program_version

ACCESS_HEADER: Final = "quorate-access"
OPERATION_HEADER: Final = "quorate-operation-id"
CALLER: Final = "caller"
"""Where a request's state holds the caller that a door has authenticated."""
_MAX_BODY: Final = 8 << 20
_BODY_TIMEOUT: Final = 30.0
_OPERATION_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_ABOUT: Final = ("vm", "resource", "group", "group_set", "network", "netinterface", "node", "resource_type", "name")
"""Inputs that name what an operation is about, the most telling first."""
_STREAM_HEADERS: Final = {"cache-control": "no-store"}


def build_app(
    services: NodeServices, dispatcher: Dispatcher, routes: Sequence[BaseRoute] = (), audit: Audit | None = None
) -> Starlette:
    """The application; ``routes`` are mounted beside the operations (the web console).

    ``audit`` is told of the operations of callers whom a door has authenticated.
    """
    face = _Face(services, dispatcher, audit)
    return Starlette(
        routes=[
            Route("/v1/events", face.events, methods=["GET"]),
            Route("/v1/migrations/{vm}/progress", face.progress, methods=["GET"]),
            Route("/v1/{operation}", face.operation, methods=["POST"]),
            Route("/metrics", face.metrics, methods=["GET"]),
            Route("/openapi.json", face.openapi, methods=["GET"]),
            Route("/docs", face.docs, methods=["GET"]),
            *routes,
        ],
        exception_handlers={ClusterError: _answer_error, Exception: _answer_bug},
    )


class _Face:
    """The endpoints."""

    def __init__(self, services: NodeServices, dispatcher: Dispatcher, audit: Audit | None) -> None:
        self._services = services
        self._dispatcher = dispatcher
        self._audit = audit
        self._local = Caller(_account(), full_access=True)

    async def operation(self, request: Request) -> Response:
        operation = operation_named(str(request.path_params["operation"]))
        inputs = inputs_from_json(operation, await _json_body(request))
        context = self._context(request)
        try:
            outputs = await self._dispatcher.call(operation.name, inputs, context)
        except ClusterError as error:
            self._note(request, operation, inputs, error.status)
            raise
        self._note(request, operation, inputs, outputs.optional_number("status") or 0)
        headers = {OPERATION_HEADER: context.operation_id}
        return JSONResponse(outputs_to_json(operation, outputs), headers=headers)

    def _note(self, request: Request, operation: Operation, inputs: Values, status: int) -> None:
        caller: Caller | None = getattr(request.state, CALLER, None)
        if self._audit is None or caller is None:
            return
        self._audit.note(
            AuditedCall(
                user=caller.actor,
                source="" if request.client is None else request.client.host,
                operation=operation.name,
                about=next((text for name in _ABOUT if (text := inputs.optional_text(name))), ""),
                status=status,
                changes=needs_full_access(operation, inputs.optional_number("control_code")),
            )
        )

    async def events(self, request: Request) -> Response:
        asked = request.query_params.get("after") or request.headers.get("last-event-id")
        if asked is not None and not (asked.isascii() and asked.isdigit()):
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"after: {asked!r} is not a sequence")
        kind, about, node = (request.query_params.get(name) for name in ("kind", "object", "node"))
        fits = event_test(await self._services.database.snapshot(), kind, about, node)
        return _stream(streams.events(self._services, None if asked is None else int(asked), fits))

    async def progress(self, request: Request) -> Response:
        snapshot = await self._services.database.snapshot()
        group_id = lookup.virtual_machine(snapshot, str(request.path_params["vm"])).group.id
        return _stream(streams.progress(self._services, self._dispatcher, self._context(request), group_id))

    async def metrics(self, request: Request) -> Response:
        """What monitoring reads; it needs read access only."""
        context = replace(self._context(request), full_access=False)
        status = await self._dispatcher.call("GetStatus", Values({}), context)
        past: tuple[PastMigration, ...] | None = None
        with suppress(ClusterError):  # the states are told all the same
            past = await self._services.database.migrations.select()
        return Response(metrics_page(status, past), media_type=CONTENT_TYPE)

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(openapi(program_version()))

    async def docs(self, request: Request) -> Response:
        return HTMLResponse(docs_page(program_version()))

    def _context(self, request: Request) -> CallContext:
        access = request.headers.get(ACCESS_HEADER, "full")
        if access not in ("read", "full"):
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f'{ACCESS_HEADER}: "{access}" is neither read nor full')
        given = request.headers.get(OPERATION_HEADER, "")
        operation_id = given if _OPERATION_ID.fullmatch(given) else str(uuid.uuid4())
        caller = getattr(request.state, CALLER, self._local)
        return CallContext(caller.actor, caller.full_access and access == "full", operation_id)


def _account() -> str:
    """The account whose socket it is: nobody else can open it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


async def _json_body(request: Request) -> JsonValue:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > _MAX_BODY:  # said before it is sent, while the caller still listens
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"the body is larger than {_MAX_BODY} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            async for part in request.stream():
                body += part
                if len(body) > _MAX_BODY:
                    raise CallerError(Status.ERROR_INVALID_PARAMETER, f"the body is larger than {_MAX_BODY} bytes")
    except TimeoutError as error:
        sentence = f"the body did not come within {_BODY_TIMEOUT:g} s"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence) from error
    if not body:
        return {}
    try:
        value: JsonValue = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"the body is not JSON: {error}") from error
    return value


def _stream(parts: AsyncIterator[str]) -> Response:
    return StreamingResponse(parts, media_type="text/event-stream", headers=_STREAM_HEADERS)


def error_body(error: ClusterError) -> Mapping[str, JsonValue]:
    """What a client gets instead of outputs."""
    return {"status": int(error.status), "name": error.status.name, "sentence": error.sentence}


def http_code(error: ClusterError) -> int:
    """The branch of an error as HTTP says it."""
    if isinstance(error, CallerError):
        return 400
    return 409 if isinstance(error, RefusalError) else 503


def error_answer(error: ClusterError) -> Response:
    """An error as an answer."""
    return JSONResponse(error_body(error), status_code=http_code(error))


async def _answer_error(request: Request, error: Exception) -> Response:
    return error_answer(error) if isinstance(error, ClusterError) else await _answer_bug(request, error)


async def _answer_bug(request: Request, error: Exception) -> Response:
    """Tell the client; the exception itself goes on to the daemon's log."""
    sentence = f"the node failed at this request ({type(error).__name__}); its log says more"
    return error_answer(FaultError(Status.ERROR_INTERNAL_ERROR, sentence))


class QuietServer(Server):
    """uvicorn without its own ideas about signals: the daemon handles them."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave them alone."""
        yield


class Face:
    """Serves an application from :meth:`start` to :meth:`stop`; what it listens on is the subclass's business."""

    def __init__(self, server: QuietServer, name: str) -> None:
        """Nothing happens before :meth:`start`; ``name`` says where, for people."""
        self._server = server
        self._name = name
        self._task: asyncio.Task[None] | None = None

    async def _serve(self, listener: socket.socket) -> None:
        """Serve on a listening socket, which is then the server's to close; return when it does."""
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name=f"http face {self._name}")
        while not self._server.started:
            if self._task.done():
                await self._task
                raise FaultError(Status.ERROR_INTERNAL_ERROR, f"the HTTP face on {self._name} did not start")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Finish what is being answered, and end streams."""
        if self._task is None:
            return
        self._server.should_exit = True
        await self._task
        self._task = None


class HttpFace(Face):
    """Serves an application on a unix socket."""

    def __init__(self, app: Starlette, path: Path) -> None:
        """Nothing happens before :meth:`start`."""
        self._path = path
        config = Config(
            app,
            http="h11",
            ws="none",
            loop="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        super().__init__(QuietServer(config), str(path))

    async def start(self) -> None:
        """Open the socket, readable by its owner only, and serve. A socket left by a dead daemon is replaced."""
        await self._serve(_listener(self._path))

    async def stop(self) -> None:
        """Finish what is being answered, end streams, and remove the socket."""
        await super().stop()
        self._path.unlink(missing_ok=True)


def _listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # before it listens, so that nobody slips in
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
