"""``mmtk doctor``: what this machine can do and which kernels are in use."""

from __future__ import annotations

import click

from mmtk.cli._common import echo_json, json_option


@click.command("doctor")
@json_option
def doctor_command(as_json: bool) -> None:
    """Say what this machine can do and which kernels are in use."""
    from mmtk.machine import examine

    facts = examine().facts()
    if as_json:
        echo_json(facts)
        return
    packages = facts.pop("packages")
    for name, value in facts.items():
        click.echo(f"{name:10} {value}")
    click.echo(f"{'packages':10} " + ", ".join(f"{name} {version}" for name, version in packages.items()))
