"""What the command line says of itself: groups, examples, suggestions and what a shell completes."""

from __future__ import annotations

import glob
import shlex
from pathlib import Path

import click
import pytest

import mmtk
from mmtk.cli import _COMMANDS, _SECTIONS, group
from tests.commands import invoke, run_mmtk, run_python
from tests.own_data import drawing, write
from tests.small_runs import write_small_run

FOLDERS = ("MMTK_SOURCES", "MMTK_STORES")
IN_TURN = (
    "list", "doctor", "phantom", "sources", "build", "info", "export", "import", "match", "verify", "show", "audit",
    "prove", "draft", "evaluate", "compare", "enter", "report",
)
NOT_RUN = {"fetch", "train", "decathlon", "demo"}  # they take a network or minutes, and have tests of their own


def command_of(name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


def examples_of(name: str) -> list[str]:
    """The command lines at the end of a command's help."""
    epilog = command_of(name).epilog or ""
    return [line.strip() for line in epilog.splitlines() if line.startswith("  mmtk ")]


def arguments_of(line: str) -> list[str]:
    """Its words as a shell gives them to the program, without the output's redirection."""
    words = [sorted(glob.glob(word)) if "*" in word else [word] for word in shlex.split(line.partition(" > ")[0])]
    return [part for word in words for part in word][1:]


def test_help_lists_the_commands_in_groups() -> None:
    shown = run_mmtk("--help", code=0).stdout
    places = [shown.index(f"\n{title}:\n") for title in _SECTIONS]
    assert places == sorted(places)
    for title, section in _SECTIONS.items():
        block = shown[shown.index(f"\n{title}:\n") :].split("\n\n")[0]
        assert all(f"\n  {name} " in block for name in section)


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_shows_examples_whose_options_parse(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    assert "Example" in invoke(name, "--help").output
    lines = examples_of(name)
    assert lines
    assert any(line.split()[1] == name for line in lines)
    for line in lines:
        other, *arguments = shlex.split(line.partition(" > ")[0])[1:]
        context = command_of(other).make_context(other, arguments, parent=click.Context(group))
        assert context.params


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the examples were typed one after the other, and what they need beforehand."""
    folder = tmp_path_factory.mktemp("session")
    for number in range(24):
        kind = ("normal", "sick")[number % 2]
        write(folder / "my_images" / kind / f"{number:02d}.png", drawing(number, kind == "sick"))
    return folder


@pytest.mark.parametrize("name", IN_TURN)
def test_the_examples_run_one_after_the_other(name: str, session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(session)
    for variable in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    if name == "match":
        Path("exported/breastmnist.npz").rename("breastmnist.npz")
    for line in examples_of(name):
        if line.startswith("mmtk build lung.toml"):
            text = Path("lung.toml").read_text().replace('licence = ""', 'licence = "CC0"')
            Path("lung.toml").write_text(text)
        done = invoke(*arguments_of(line), code=None)
        assert done.exit_code in (0, 1), (line, done.output)
        if " > " in line:
            Path(line.partition(" > ")[2]).write_text(done.output)
    if name == "build":
        for run in "ab":
            write_small_run(Path("stores/breastmnist_28.h5"), Path("runs", run))


def test_no_example_is_forgotten() -> None:
    assert {*IN_TURN} == {*_COMMANDS} - NOT_RUN


@pytest.mark.parametrize(("arguments", "meant"), [
    (["buid"], "build"),
    (["info", "brestmnist"], "breastmnist"),
    (["train", "x.h5", "--model", "resnet19", "--protocol", "quick", "--out", "x"], "resnet18"),
    (["export", "x.h5", "--to", "pgn", "--out", "x"], "png"),
])
def test_a_mistyped_word_gets_a_suggestion(arguments: list[str], meant: str) -> None:
    done = run_mmtk(*arguments, code=2)
    assert f"did you mean {meant}" in done.stderr.lower().replace("'", "")


def test_a_mistyped_name_gets_a_suggestion_in_python_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmtk.errors import ArgumentError
    from mmtk.training import get_method, get_protocol

    for look, meant in (
        (lambda: mmtk.get_dataset("brestmnist"), "breastmnist"), (lambda: get_protocol("isbi2"), "isbi21"),
        (lambda: get_method("skleran"), "sklearn"), (lambda: mmtk.evaluate([0], [0], "binary"), "binary-class"),
    ):
        with pytest.raises(KeyError) as caught:
            look()
        assert isinstance(caught.value, ArgumentError)
        assert str(caught.value).endswith(f"did you mean {meant}?")
    monkeypatch.setenv("MMTK_KERNELS", "vni")
    with pytest.raises(ArgumentError, match="did you mean vnni"):
        mmtk.imaging.kernels_in_use()


def completions(*words: str) -> list[str]:
    """What bash is offered for the last word."""
    code = """
import os, sys
sys.argv = ["mmtk"]
from mmtk.cli import main
try:
    main()
finally:
    assert not {"torch", "cv2", "numba", "h5py", "sklearn"} & set(sys.modules)
"""
    env = {"_MMTK_COMPLETE": "bash_complete", "COMP_WORDS": shlex.join(["mmtk", *words[:-1]]) + f" {words[-1]}",
           "COMP_CWORD": len(words)}
    return run_python("-c", code, env=env).stdout.split()


@pytest.mark.parametrize(("words", "offered"), [
    (("de",), ["plain,decathlon", "plain,demo"]),
    (("info", "breast"), ["plain,breastmnist"]),
    (("info", "stores/"), ["file,stores/"]),
    (("build", "--sou"), ["plain,--sources"]),
    (("build", "--sources", "ra"), ["dir,ra"]),
    (("build", "organ"), ["plain,organamnist", "plain,organcmnist", "plain,organsmnist"]),
    (("train", "x.h5", "--protocol", "tu"), ["plain,tuned-v1"]),
    (("train", "x.h5", "--model", ""), ["plain,resnet18", "plain,resnet50"]),
    (("decathlon", "--method", "sk"), ["plain,sklearn"]),
    (("fetch", "--edition", "202"), ["plain,2020", "plain,2021", "plain,2022", "plain,2024"]),
])
def test_a_shell_completes_names_and_files_and_loads_nothing_heavy(words: tuple[str, ...], offered: list[str]) -> None:
    assert completions(*words) == offered


def test_the_completion_of_each_shell_can_be_had() -> None:
    for shell in ("bash", "zsh", "fish"):
        done = run_mmtk(env={"_MMTK_COMPLETE": f"{shell}_source"}, code=0)
        assert "_MMTK_COMPLETE" in done.stdout
