"""``mmtk doctor``: hardware, kernels and versions."""

from __future__ import annotations

import click

from mmtk.cli._common import echo_json, example, json_option


@click.command("doctor", epilog=example("mmtk doctor"))
@json_option
def doctor_command(as_json: bool) -> None:
    """Show this machine's cores and GPU, the kernels in use, and the versions of mmtk and its packages."""
    from mmtk.machine import examine

    facts = examine().facts()
    if as_json:
        echo_json(facts)
        return
    packages = facts.pop("packages")
    for name, value in facts.items():
        click.echo(f"{name:10} {value}")
    click.echo(f"{'packages':10} " + ", ".join(f"{name} {version}" for name, version in packages.items()))
