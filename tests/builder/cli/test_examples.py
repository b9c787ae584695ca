"""Every command's --help ends with what a user may type, and the command takes it."""

import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pragmatiq_builder.cli.app import app
from pragmatiq_builder.cli.examples import EXAMPLES

ROOT = typer.main.get_command(app)


def leaves(command, name=""):
    if hasattr(command, "commands"):
        return [found for inner, sub in command.commands.items() for found in leaves(sub, f"{name} {inner}".strip())]
    return [(name, command)]


def taken(words):
    """The command that ``words`` reach, when all its options, choices and paths are checked; it is not run."""
    command, context = ROOT, None
    while hasattr(command, "commands"):
        context = command.context_class(command, parent=context, info_name=command.name)
        name, command, words = command.resolve_command(context, words)
    command.make_context(name, list(words), parent=context)
    return command


@pytest.mark.parametrize("name", [name for name, _ in leaves(ROOT)])
def test_every_command_has_an_example_that_it_takes(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in EXAMPLES[name]:
        words = shlex.split(line)
        for path in (Path(word) for word in words if not word.startswith("-")):
            folder = path.parent if path.suffix else path
            folder.mkdir(parents=True, exist_ok=True)
            if path.suffix:
                path.touch()
        assert taken(words) is dict(leaves(ROOT))[name], "the example is of another command"


def test_an_option_that_is_not_there_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        taken(["doctor", "--gone"])


def test_there_is_no_example_of_a_command_that_is_gone():
    assert set(EXAMPLES) == {name for name, _ in leaves(ROOT)}


@pytest.mark.parametrize("words", [["validate"], ["runs", "compare"], ["ingest", "init"]])
def test_help_shows_the_examples(words):
    found = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert found.exit_code == 0
    assert f"pragmatiq {EXAMPLES[' '.join(words)][0]}" in found.output
