"""The OpenAPI description of the HTTP face and a page that shows it, both made from the operations table."""

from html import escape

from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.operation_types import Field, FieldType, Operation
from quorate.clusapi.operations import OPERATIONS

_SCHEMAS: dict[FieldType, dict[str, JsonValue]] = {
    FieldType.U32: {"type": "integer", "minimum": 0, "maximum": 0xFFFFFFFF},
    FieldType.U64: {"type": "string", "pattern": "^[0-9]+$"},
    FieldType.TEXT: {"type": "string"},
    FieldType.BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldType.FLAG: {"type": "boolean"},
    FieldType.IDS: {"type": "array", "items": {"type": "string"}},
    FieldType.OBJECT: {"type": "object"},
    FieldType.OBJECTS: {"type": "array", "items": {"type": "object"}},
}
_ERRORS = {"400": "the caller's mistake", "409": "the cluster's refusal", "503": "a fault"}
_FACTS = ("access", "runs on", "wire calls")


def openapi(version: str) -> dict[str, JsonValue]:
    """Describe every operation and the two event streams."""
    paths: dict[str, JsonValue] = {f"/v1/{name}": {"post": _post(operation)} for name, operation in OPERATIONS.items()}
    paths["/v1/events"] = {"get": _stream("StreamEvents", "Events as server-sent events.", ("after", "query"))}
    paths["/v1/migrations/{vm}/progress"] = {
        "get": _stream("StreamMigrationProgress", "A migration's progress as server-sent events.", ("vm", "path"))
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Quorate",
            "version": version,
            "description": "The operations of ClusAPI over HTTP. 64-bit numbers are text, bytes are base64.",
        },
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR_SCHEMA}},
    }


_ERROR_SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "required": ["status", "name", "sentence"],
    "properties": {
        "status": {"type": "integer", "description": "the ClusAPI status code"},
        "name": {"type": "string", "description": "its name, such as ERROR_INVALID_STATE"},
        "sentence": {"type": "string", "description": "which rule, what was measured, what would help"},
    },
}


def _post(operation: Operation) -> dict[str, JsonValue]:
    answers: dict[str, JsonValue] = {
        "200": {"description": "done", "content": {"application/json": {"schema": _object(operation.outputs)}}}
    }
    for code, meaning in _ERRORS.items():
        error: JsonValue = {"schema": {"$ref": "#/components/schemas/Error"}}
        answers[code] = {"description": meaning, "content": {"application/json": error}}
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "x-opnums": list(operation.opnums),
        "x-access": operation.access.value,
        "x-place": operation.place.value,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _object(operation.inputs)}}},
        "responses": answers,
    }


def _object(fields: tuple[Field, ...]) -> dict[str, JsonValue]:
    return {
        "type": "object",
        "properties": {field.name: {**_SCHEMAS[field.type], "description": field.about} for field in fields},
        "required": [field.name for field in fields if not field.optional],
        "additionalProperties": False,
    }


def _stream(name: str, summary: str, parameter: tuple[str, str]) -> dict[str, JsonValue]:
    field, place = parameter
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [{"name": field, "in": place, "required": place == "path", "schema": {"type": "string"}}],
        "responses": {"200": {"description": "a stream", "content": {"text/event-stream": {}}}},
    }


def docs_page(version: str) -> str:
    """The same as a page for people, without any outside asset."""
    parts = [_operation_html(operation) for operation in OPERATIONS.values()]
    index = " ".join(f'<a href="#{name}">{name}</a>' for name in OPERATIONS)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Quorate API</title><style>"
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.2rem .6rem .2rem 0;"
        "text-align:left;vertical-align:top}code{background:#eee;padding:0 .2rem}nav a{margin-right:.7rem}"
        "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}code{background:#333}a{color:#8bf}}"
        f"</style><h1>Quorate {escape(version)}</h1><p>Each operation is <code>POST /v1/&lt;name&gt;</code> with a "
        f'JSON object. <a href="/openapi.json">openapi.json</a></p><nav>{index}</nav>{"".join(parts)}</html>'
    )


def _operation_html(operation: Operation) -> str:
    facts = " · ".join(f"{name}: {escape(value)}" for name, value in zip(_FACTS, facts_of(operation), strict=True))
    rows = "".join(
        f"<tr><td>{kind}<td><code>{field.name}</code><td>{field.type.value}{' (optional)' if field.optional else ''}"
        f"<td>{escape(field.about)}"
        for kind, fields in (("in", operation.inputs), ("out", operation.outputs))
        for field in fields
    )
    return (
        f'<h2 id="{operation.name}">{operation.name}</h2><p>{escape(operation.summary)}<br><small>{facts}</small></p>'
        f"<table>{rows}</table>"
    )


def facts_of(operation: Operation) -> tuple[str, str, str]:
    """Access, place and wire calls in words."""
    calls = ", ".join(map(str, operation.opnums)) or "none: our own"
    return operation.access.value, operation.place.value, calls
