"""``quorate simulate``: what people see of scenario files, and of random histories."""

import json
from pathlib import Path

import pytest

from quorate.cli.main import run

SCENARIO = """\
# A group changes its owner.
nodes node1,node2 memory 16G
vm vm1 on node1 memory 1G offline

at 8: move vm1 to node2
until 12
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "moves.txt"
    path.write_text(SCENARIO, encoding="utf-8")
    return path


def test_what_comes_out_is_written_down_and_compared(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(file)]) == 3
    out = capsys.readouterr().out
    assert f"--- {file}, expected" in out
    assert "+= vm1: " in out
    assert "1 scenario" in out and "1 not as expected" in out

    assert run(["simulate", "--update", str(file.parent)]) == 0
    assert "written anew" in capsys.readouterr().out
    assert file.read_text(encoding="utf-8").startswith(SCENARIO + "----\n")

    assert run(["simulate", str(file)]) == 0
    assert "all as expected" in capsys.readouterr().out


def test_the_same_facts_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "simulate", str(file)]) == 3
    (fact,) = json.loads(capsys.readouterr().out)["scenarios"]
    assert fact["outcome"] == "different"
    assert fact["title"] == "A group changes its owner."
    assert any("+= vm1: " in line for line in fact["difference"])


def test_the_story_tells_all(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(SCENARIO.replace("until", "show outcome\nuntil"), encoding="utf-8")
    run(["simulate", "--story", str(file)])
    assert "> move vm1 to node2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name scenario files, or say --random NUMBER"),
        (["nowhere.txt"], "there is no file 'nowhere.txt'"),
        (["--random", "0"], "--random and --jobs are at least 1"),
        (["--random", "5", "x.txt"], "--random plays histories of its own"),
    ],
)
def test_a_mistake_is_one_of_the_caller(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_mistake_in_a_file_is_told_with_its_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(SCENARIO + "at 9: teleport vm1\n", encoding="utf-8")
    assert run(["simulate", str(file)]) == 2
    assert f"{file}, line 7: “teleport” is not known here" in capsys.readouterr().err


def test_random_histories_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "simulate", "--random", "1", "--seed", "7", "--keep", str(tmp_path)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["histories"] == 1
    assert facts["broken"] == []
    assert facts["median"]["events"] > 1000
    assert facts["least"]["virtual minutes"] >= 30
    assert facts["least"]["faults"] >= 20
    assert facts["least"]["commands"] >= 50
    assert 0 <= facts["had"]["a migration"] <= 1
    assert not list(tmp_path.iterdir())
