"""``quorate explain``."""

from pathlib import Path

from quorate.cli import output
from quorate.cli.session import session
from quorate.clusapi.explain import (
    ControlCodeExplanation,
    Explanation,
    PropertyListExplanation,
    StatusExplanation,
    explain_property_list,
)
from quorate.clusapi.explain import explain as take_apart
from quorate.clusapi.property_lists import PropertyFormat


def explain(what: str, /) -> int:
    """Take a control code, a status code or a property list apart.

    Parameters
    ----------
    what
        A number (0x01600004, 5023), a name (VM_START_MIGRATION, ERROR_INVALID_STATE), a property list in hexadecimal,
        or a file that holds one, as bytes or as a hex dump.
    """
    explanation = _of_file(Path(what)) if _is_file(what) else take_apart(what)
    if session.json:
        output.print_json(explanation.to_json())
        return output.EXIT_SUCCESS
    console = output.console()
    match explanation:
        case ControlCodeExplanation():
            _show_code(explanation)
        case StatusExplanation():
            rows = [
                ("Status", f"{explanation.status} (0x{explanation.status:08X})"),
                ("Name", explanation.name),
                ("Meaning", explanation.meaning),
                ("Kind", explanation.outcome.value),
            ]
            if explanation.hresult is not None:
                rows.append(("HRESULT", f"0x{explanation.hresult:08X}"))
            console.print(output.table("", ("Fact", "Value"), rows))
        case PropertyListExplanation():
            values = [
                (item.name, PropertyFormat(value.syntax.format_word).name, str(value.value))
                for item in explanation.properties
                for value in item.values
            ]
            title = f"Property list of {len(explanation.properties)} properties, {explanation.size} bytes"
            console.print(output.table(title, ("Property", "Format", "Value"), values))
    return output.EXIT_SUCCESS


def _show_code(explanation: ControlCodeExplanation) -> None:
    console = output.console()
    rows = [(row.bits, row.field, row.value, row.meaning) for row in explanation.rows]
    title = f"Control code 0x{explanation.code:08X} ({explanation.code})"
    console.print(output.table(title, ("Bits", "Field", "Value", "Meaning"), rows))
    for code in explanation.known_as:
        facts = [("Name", code.name)]
        if code.resource_type:
            facts.append(("Resource type", code.resource_type))
        facts.append(("Input", code.input or "-"))
        facts.append(("Output", code.output or "-"))
        if code.handler is not None:
            facts.append(("Answered by", str(code.handler.value)))
        if code.note:
            facts.append(("Note", code.note))
        console.print(output.table("", ("Known as", ""), facts))


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long or with a NUL: a hex dump, surely no path
        return False


def _of_file(path: Path) -> Explanation:
    data = path.read_bytes()
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return explain_property_list(data)
    return explain_property_list(data) if "\0" in text else take_apart(text)
