"""The command line: a click group that loads a command's module only when that command is asked for."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click

from mmtk import __version__, plugins
from mmtk.cli import _streams
from mmtk.errors import MmtkError, system_remedy

# command -> (module of this package, one line of help, shown without importing the module)
_COMMANDS = {
    "list": ("datasets", "List the datasets there are."),
    "info": ("datasets", "Show the facts of a dataset or a store."),
    "doctor": ("machine", "Say what this machine can do and which kernels are in use."),
    "sources": ("datasets", "Say which raw data is there, what is missing and where to get it."),
    "phantom": ("phantoms", "Write synthetic sources in the providers' layouts."),
    "draft": ("draft", "Write a dataset file for a folder of your own data."),
    "build": ("build", "Build stores from raw images."),
    "fetch": ("stores", "Fetch the official .npz files, resumed and MD5-checked."),
    "import": ("stores", "Turn a MedMNIST .npz into a store."),
    "export": ("stores", "Write a store as .npz, as PNG, or as a folder to share."),
    "verify": ("stores", "Recompute the checksums of stores."),
    "match": ("matching", "Tell which source is which row of an official .npz."),
    "audit": ("matching", "Find duplicates, conflicting labels and subjects in several splits."),
    "prove": ("proof", "Prove how much is MedMNIST bit for bit, with the files at hand."),
    "show": ("stores", "Draw a montage of a store."),
    "train": ("training", "Train a model on a store under a protocol."),
    "decathlon": ("decathlon", "Train and test on every store there is, and print one table."),
    "report": ("report", "Show finished runs on one HTML page, beside the paper's figures."),
    "evaluate": ("scores", "Score result files against their stores."),
    "enter": ("scores", "Make runs of predictions that were made elsewhere."),
    "compare": ("scores", "Say how much better one result file scores than another."),
    "demo": ("demo", "Go the whole way on phantoms, printing each command."),
}


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = import_module(f"mmtk.cli.{_COMMANDS[name][0]}")
        command: click.Command = getattr(module, f"{name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mmtk")
@click.option("--plugin", "files", type=click.Path(path_type=Path), multiple=True, envvar=plugins.VARIABLE,
              show_envvar=True, metavar="FILE.py",
              help="A file of Python that registers datasets or methods; give it again for more.")
def group(files: tuple[Path, ...]) -> None:
    """Rebuild the MedMNIST Classification Decathlon, or make a dataset of your own images: build, train, score."""
    plugins.announce(files)


def main() -> None:
    """Run the command line; exit 0 done, 1 a finding, 2 bad usage or input.

    As a shell counts them: 130 where it was interrupted, 141 where what it prints to was closed.
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
        _say("stopped")
        return 130
    except MmtkError as error:
        _say(f"error: {error}")
        return 2
    except OSError as error:
        if _streams.is_broken(error):
            return _PIPE_CLOSED
        _say(f"error: {_told(error)}")
        return 2
    except MemoryError:
        _say(f"error: {_command()}: out of memory; free some, or let fewer workers or smaller batches run")
        return 2
    except RecursionError:
        _say(f"error: {_command()}: what it was given is nested too deeply")
        return 2


_PIPE_CLOSED = 141


def _invoke() -> int:
    """As click runs a group, but for its own end where a pipe was closed: exit 1, which would count as a finding."""
    if "_MMTK_COMPLETE" in os.environ:  # a shell asks what could be typed
        group.main(prog_name="mmtk", standalone_mode=False)
    try:
        with group.make_context("mmtk", sys.argv[1:]) as context:
            code = group.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    return code if isinstance(code, int) else 0


def _told(error: OSError) -> str:
    """What an error of the system is about, what the system says, and what to do about it."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    what = " and ".join(names) or _command()
    reason = error.strerror or str(error) or type(error).__name__
    return " ".join("; ".join(filter(None, (f"{what}: {reason}", system_remedy(error.errno)))).split())


def _command() -> str:
    """The command that runs, as an error names it."""
    return " ".join(["mmtk", *[name for name in sys.argv[1:] if name in _COMMANDS][:1]])


def _say(text: str) -> None:
    with suppress(OSError):  # nobody listens
        click.echo(f"mmtk: {text}", err=True)
