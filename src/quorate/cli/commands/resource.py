"""``quorate resource …``."""

from quorate.cli import output
from quorate.cli.commands.properties import (
    Target,
    cell,
    plain,
    private_properties,
    rows_of,
    set_properties,
    shown_properties,
)
from quorate.cli.commands.tables import fact_rows, resource_rows
from quorate.cli.session import session
from quorate.client.blocking import BlockingClient
from quorate.clusapi.control_code_lookup import control_codes_named
from quorate.clusapi.control_codes import ControlObject
from quorate.clusapi.errors import CallerError, error_from_status
from quorate.clusapi.json_types import JsonValue, json_text
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import PropertyListError, parse_property_list
from quorate.clusapi.status import Status

_GET_PROPERTIES = (0x000055, 0x000059, 0x00007D, 0x000081)
_GET_TEXT = (0x000029, 0x00002D, 0x000039)


def list_() -> int:
    """List the resources with type, state, group and owner."""
    resources = session.client().call("ListResources").objects("resources")
    output.show({"resources": resources}, resource_rows(resources) if not session.json else "")
    return output.EXIT_SUCCESS


def show_(name: str, /) -> int:
    """Show a resource with its common and private properties."""
    client = session.client()
    found = client.call("GetResourceId", resource=name)
    all_ = client.call("ListResources").objects("resources")
    facts = next((item for item in all_ if json_text(item, "id") == found.text("id")), {})
    common, why_not = shown_properties(_target(client, found.text("id")))
    properties = {} if why_not else private_properties(_target(client, found.text("id")))
    if session.json:
        output.print_json({**facts, "properties": common, "private_properties": properties})
        return output.EXIT_SUCCESS
    console = output.console()
    console.print(resource_rows([facts]))
    console.print(why_not or fact_rows(rows_of(common), "Properties"))
    if properties:
        console.print(fact_rows([(key, cell(value)) for key, value in properties.items()], "Private properties"))
    return output.EXIT_SUCCESS


def set_(name: str, /, *assignments: str, private: bool = False) -> int:
    """Set properties of a resource, common or private as its tables have them.

    Parameters
    ----------
    name
        The resource.
    assignments
        KEY=VALUE, as many as there are; items of a list are separated by commas.
    private
        Store names that the resource does not know as private properties of your own.
    """
    return set_properties(_target(session.client(), name), assignments, private=private)


def _target(client: BlockingClient, name: str) -> Target:
    def control(code: int, data: bytes | None) -> Values:
        return client.call("ResourceControl", resource=name, control_code=code, in_buffer=data)

    return Target(ControlObject.RESOURCE, name, control)


def control_(
    name: str,
    code: str,
    /,
    *,
    to: str | None = None,
    hex: str | None = None,
    text: str | None = None,
    host: str | None = None,
    out_size: int = 65536,
) -> int:
    """Send a control code to a resource.

    Parameters
    ----------
    name
        The resource.
    code
        The code: a number such as 0x01600004, or a name such as VM_START_MIGRATION.
    to
        The input is this node's name, as VM_START_MIGRATION wants it.
    hex
        The input in hexadecimal; "" is an empty buffer, which is not the same as none.
    text
        The input is this text in UTF-16 with its NUL.
    host
        The node that shall carry it out; the owner, if left out.
    out_size
        Room for the output.
    """
    number = _code(code)
    answer = session.client().call(
        "ResourceControl",
        resource=name,
        control_code=number,
        in_buffer=_input(to, hex, text),
        host_node=host,
        out_size=out_size,
    )
    return _show_answer(number, answer)


def _show_answer(number: int, answer: Values) -> int:
    status, data = answer.number("status"), answer.data("output")
    if status and not session.json:
        raise error_from_status(status, answer.optional_text("sentence") or Status(status).meaning)
    facts: dict[str, JsonValue] = {
        "control_code": f"0x{number:08X}",
        "status": status,
        "name": Status(status).name,
        "required": answer.number("required"),
        "output": data.hex(),
    }
    decoded = _decoded(number, data) if not status else None
    if decoded is not None:
        facts["decoded"] = decoded
    if sentence := answer.optional_text("sentence"):
        facts["sentence"] = sentence
    if session.json:
        output.print_json(facts)
        return output.EXIT_SUCCESS if not status else output.exit_code(error_from_status(status, ""))
    rows = [("Status", f"{status} {Status(status).name}")]
    if isinstance(decoded, dict):
        rows.extend((key, cell(value)) for key, value in decoded.items())
    elif isinstance(decoded, str):
        rows.append(("Output", decoded))
    elif data:
        rows.append(("Output", f"{len(data)} bytes: {data[:64].hex(' ')}{' …' if len(data) > 64 else ''}"))
    output.console().print(fact_rows(rows))
    return output.EXIT_SUCCESS


def _code(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        found = control_codes_named(text, ControlObject.RESOURCE)
        values = sorted({code.value for code in found})
        if len(values) == 1:
            return values[0]
        problem = (
            f'no control code of resources is called "{text}"' if not values else f'"{text}" is more than one code'
        )
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{problem}; quorate explain {text} may help") from None
    if not 0 <= number <= 0xFFFFFFFF:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"{text} is not an unsigned 32-bit number")
    return number


def _input(to: str | None, hex_: str | None, text: str | None) -> bytes | None:
    given = [value for value in (to, hex_, text) if value is not None]
    if len(given) > 1:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, "--to, --hex and --text exclude each other")
    if hex_ is not None:
        try:
            return bytes.fromhex(hex_)
        except ValueError as error:
            raise CallerError(Status.ERROR_INVALID_PARAMETER, f"--hex: {error}") from error
    return f"{given[0]}\0".encode("utf-16-le") if given else None


def _decoded(code: int, data: bytes) -> JsonValue:
    operation = code & 0x00FFFFFF
    if operation in _GET_PROPERTIES:
        return _properties(data)
    return data.decode("utf-16-le", "replace").rstrip("\0") if operation in _GET_TEXT else None


def _properties(data: bytes) -> dict[str, JsonValue]:
    try:
        properties = parse_property_list(data)
    except PropertyListError:
        return {}
    return {item.name: plain(item.value) for item in properties}
