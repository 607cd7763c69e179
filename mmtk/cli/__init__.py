"""The command line: a click group that loads a command's module only when that command is asked for."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from mmtk import __version__
from mmtk.errors import MmtkError

# command -> (module of this package, one line of help, shown without importing the module)
_COMMANDS = {
    "list": ("datasets", "List the ten datasets."),
    "info": ("datasets", "Show the facts of a dataset or a store."),
    "doctor": ("machine", "Say what this machine can do and which kernels are in use."),
    "sources": ("datasets", "Say which raw data is there, what is missing and where to get it."),
    "phantom": ("phantoms", "Write synthetic sources in the providers' layouts."),
    "build": ("build", "Build stores from raw images."),
    "fetch": ("stores", "Fetch the official .npz files, resumed and MD5-checked."),
    "import": ("stores", "Turn a MedMNIST .npz into a store."),
    "export": ("stores", "Write a store as .npz or as a PNG folder."),
    "verify": ("stores", "Recompute the checksums of stores."),
    "match": ("matching", "Tell which source is which row of an official .npz."),
    "audit": ("matching", "Find duplicates, conflicting labels and subjects in several splits."),
    "prove": ("proof", "Prove how much is MedMNIST bit for bit, with the files at hand."),
    "show": ("stores", "Draw a montage of a store."),
    "train": ("training", "Train a model on a store under a protocol."),
    "decathlon": ("decathlon", "Train and test on every store there is, and print one table."),
    "report": ("report", "Show finished runs on one HTML page, beside the paper's figures."),
    "evaluate": ("scores", "Score result files against their stores."),
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
def group() -> None:
    """Rebuild the MedMNIST Classification Decathlon from raw images: build, load, train, score."""


def main() -> None:
    """Run the command line; exit 0 done, 1 a finding, 2 bad usage or input."""
    try:
        code = group.main(prog_name="mmtk", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("mmtk: stopped", err=True)
        sys.exit(130)
    except MmtkError as error:
        click.echo(f"mmtk: error: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(2)
    except OSError as error:
        reason = f"{error.filename or 'mmtk'}: {error.strerror or error}"
        click.echo(f"mmtk: error: {reason}; check the path, its permissions and the free space", err=True)
        sys.exit(2)
