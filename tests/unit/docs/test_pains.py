"""docs/pains.md answers every complaint of its list, by tests that there are."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "pains.md"
ANSWERED = (*range(1, 15), *range(18, 28), *range(30, 36))
"""The complaints that are about migrations. Two, 28 and 29, are about devices that there are not yet."""


def sections() -> dict[int, str]:
    parts = re.split(r"^### (\d+)\. ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def named_tests(text: str) -> list[str]:
    return re.findall(r"`(tests/[\w/]+\.py::\w+)`", text)


@cache
def names_in(path: str) -> frozenset[str]:
    def names() -> Iterator[str]:
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name

    return frozenset(names())


@pytest.mark.parametrize("number", ANSWERED)
def test_a_complaint_is_answered_by_tests_or_by_not_yet(number: int) -> None:
    text = sections()[number]
    found = named_tests(text)
    assert "*Suffered:*" in text
    assert ("*Quorate:*" in text) == ("*Shown by:*" in text) == bool(found), "what we do is shown"
    assert found or "**Not yet:**" in text
    assert text.count("`tests/") == len(found), "each test is named so that it can be found"
    for name in found:
        path, _, function = name.partition("::")
        assert (ROOT / path).is_file(), path
        assert function in names_in(path), name


def test_there_are_no_other_sections() -> None:
    assert tuple(sections()) == ANSWERED
