"""The command line: a click group that imports a command's module only when that command is used."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from mmtk import __version__, plugins
from mmtk.cli import _streams
from mmtk.errors import MmtkError, did_you_mean, system_remedy

# section -> command -> (module of this package, one line of help, shown without importing the module)
_SECTIONS = {
    "Data": {
        "list": ("datasets", "List all datasets."),
        "info": ("datasets", "Show the facts of a dataset or a store."),
        "sources": ("datasets", "Show which raw data is present, what is missing and where to get it."),
        "phantom": ("phantoms", "Write synthetic raw data in the providers' layouts."),
        "draft": ("draft", "Write a dataset file for a folder of your own data."),
        "fetch": ("stores", "Download the official .npz files and check their MD5."),
    },
    "Stores": {
        "build": ("build", "Build stores from raw images."),
        "import": ("stores", "Convert a MedMNIST .npz file to a store."),
        "export": ("stores", "Convert a store to .npz, PNG or another format."),
        "verify": ("stores", "Check stores against their checksums."),
        "show": ("stores", "Draw a montage of a store's images."),
        "match": ("matching", "Find the source of each row of an official .npz file."),
        "audit": ("matching", "Find duplicates, conflicting labels and subjects in several splits."),
        "prove": ("proof", "Prove how much of MedMNIST is reproduced bit for bit."),
    },
    "Training": {
        "train": ("training", "Train a model on a store under a protocol."),
        "decathlon": ("decathlon", "Train and test on every store, and print one table."),
        "demo": ("demo", "Run the whole pipeline on synthetic data."),
    },
    "Scoring": {
        "evaluate": ("scores", "Score result files against their stores."),
        "compare": ("scores", "Compare the scores of two result files."),
        "enter": ("scores", "Add predictions made elsewhere to a folder of runs."),
        "report": ("report", "Write an HTML report on finished runs."),
    },
    "This machine": {
        "doctor": ("machine", "Show hardware, kernels and versions."),
    },
}
_COMMANDS = {name: command for section in _SECTIONS.values() for name, command in section.items()}


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = import_module(f"mmtk.cli.{_COMMANDS[name][0]}")
        command: click.Command = getattr(module, f"{name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"unknown command: {name}; {did_you_mean(name, _COMMANDS) or 'mmtk --help lists all'}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [
            CompletionItem(name, help=line) for name, (_, line) in _COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]  # the group's would import them all

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, _COMMANDS))
        for title, section in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), line) for name, (_, line) in section.items()])


_EPILOG = """\b
Example:
  mmtk demo --out demo
\b
Tab completion of commands, options and names (bash; also zsh_source and fish_source):
  eval "$(_MMTK_COMPLETE=bash_source mmtk)"
"""


@click.group(
    cls=_Group, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="mmtk")
@click.option("--plugin", "files", type=click.Path(path_type=Path), multiple=True, envvar=plugins.VARIABLE,
              show_envvar=True, metavar="FILE.py", help="Python file that registers datasets or methods; repeatable.")
def group(files: tuple[Path, ...]) -> None:
    """Rebuild the MedMNIST Classification Decathlon, or turn your own images into a dataset: build, train, score."""
    plugins.announce(files)


def main() -> None:
    """Run the command line. Exit codes: 0 success, 1 a finding, 2 bad usage or input.

    As in a shell, 130 means interrupted and 141 that the reader of a pipe closed it.
    """
    _streams.prepare()
    code = _run()
    _streams.give_up()
    sys.exit(code)


def _run() -> int:
    try:
        code = _invoke()
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return 130
    except MmtkError as error:
        _say(f"error: {error}")
        return 2
    except OSError as error:
        if _streams.is_broken(error):
            return _PIPE_CLOSED
        _say(f"error: {_system_error(error)}")
        return 2
    except ImportError as error:
        lacks_library = error.name == "cv2" and "shared object" in str(error)  # a desktop's, in a container
        remedy = "pip install opencv-python-headless" if lacks_library else "pip install mmtk again"
        _say(f"error: {_command()}: cannot import {error.name or 'a package'}: {error}; {remedy}")
        return 2
    except MemoryError:
        _say(f"error: {_command()}: out of memory; free some, or use fewer workers or smaller batches")
        return 2
    except RecursionError:
        _say(f"error: {_command()}: the input is nested too deeply")
        return 2


_PIPE_CLOSED = 141


def _invoke() -> int:
    """Run the group as click does, except that a closed pipe does not exit with 1, which would mean a finding."""
    if "_MMTK_COMPLETE" in os.environ:  # a shell asks for completions
        group.main(prog_name="mmtk", standalone_mode=False)
    try:
        with group.make_context("mmtk", sys.argv[1:]) as context:
            code = group.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    return code if isinstance(code, int) else 0


def _system_error(error: OSError) -> str:
    """One line on a system error: the file, the system's message and a remedy."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    what = " and ".join(names) or _command()
    reason = error.strerror or str(error) or type(error).__name__
    return " ".join("; ".join(filter(None, (f"{what}: {reason}", system_remedy(error.errno)))).split())


def _command() -> str:
    """The running command, as errors name it."""
    return " ".join(["mmtk", *[name for name in sys.argv[1:] if name in _COMMANDS][:1]])


def _say(text: str) -> None:
    with suppress(OSError):  # standard error is closed
        click.echo(f"mmtk: {text}", err=True)
