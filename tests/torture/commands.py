"""The commands that are given faults, and what of what they write is the same every time."""

from __future__ import annotations

from dataclasses import dataclass

# the names of result files tell figures
FIGURES = r"\[AUC\][\d.]+_\[ACC\][\d.]+"


@dataclass(frozen=True)
class Command:
    """A command line and what is to be known of it.

    Attributes
    ----------
    name : its section of the table, then what is special of it
    line : arguments of ``mmtk``; ``{in}``, ``{out}`` and ``{url}`` stand for the inputs, the output, the local server
    share : of all faults
    code : its exit status without faults
    before : folder of the inputs that lies at ``{out}`` beforehand
    unsteady : files that hold times or depend on them, as patterns of `fnmatch`
    optional : files that may be missing after success, if it says so, as patterns
    whole : folders that appear whole or not at all
    seconds : after which it hangs
    heavy : trains or draws, and needs what that needs; left out of the short form
    """

    name: str
    line: str
    share: float = 1.0
    code: int = 0
    before: str = ""
    unsteady: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    seconds: float = 30.0
    heavy: bool = False

    @property
    def section(self) -> str:
        return self.name.partition("/")[0]


_BUILD = "build breastmnist --out {out} --allow-partial --workers 1"
_STORE = "{in}/stores/breastmnist_28.h5"
_RUN = ("*.json", "*.jsonl", "*.pt", "*.npz", "*.csv")

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("build/plain", f"{_BUILD} --sources {{in}}/sources", 2.0),
        Command("build/two-sizes", f"{_BUILD} --sources {{in}}/sources --size 28 --size 64 --workers 2", 2.0),
        Command("build/skip", f"{_BUILD} --sources {{in}}/bad --on-error skip", 3.0, code=1),
        Command("build/force", f"{_BUILD} --sources {{in}}/sources --force", 1.5, before="other/again"),
        Command("build/go-on", f"{_BUILD} --sources {{in}}/sources", 1.5, before="half"),
        Command("build/match", f"{_BUILD} --sources {{in}}/sources --match-npz {{in}}/npz", 3.0),
        Command("build/own", "build {in}/own/clinic.toml --sources {in}/own --out {out} --size 28 --size 64", 2.0),
        Command("build/own-volumes", "build {in}/organs/organs.toml --sources {in}/organs --out {out}", 2.0),
        Command("import/plain", "import {in}/npz/breastmnist.npz --out {out}", 1.5),
        Command("import/force", "import {in}/npz/breastmnist.npz --out {out} --force", 1.5, before="other/store"),
        Command("export/npz", f"export {_STORE} --to npz --out {{out}}"),
        Command("export/npz-force", f"export {_STORE} --to npz --out {{out}} --force", before="other/npz"),
        Command("export/png", f"export {_STORE} --to png --out {{out}}", 1.5),
        Command("export/png-force", f"export {_STORE} --to png --out {{out}} --force", 1.5, before="other/png"),
        Command("export/h5", f"export {_STORE} --to h5 --out {{out}}", 1.5),
        Command("export/h5-force", f"export {_STORE} --to h5 --out {{out}} --force", 1.5, before="other/packed"),
        Command("fetch/plain", "fetch breastmnist --out {out} --base-url {url}", 1.5),
        Command("fetch/force", "fetch breastmnist --out {out} --base-url {url} --force", 1.0, before="other/npz"),
        Command("phantom/plain", "phantom pathmnist --out {out} --scale 0.0001", 0.7, whole=("pathmnist",)),
        Command("show/plain", f"show {_STORE} --out {{out}}/m.png", 0.8),
        Command("show/replaced", f"show {_STORE} --out {{out}}/m.png", 0.8, before="other/files"),
        Command("match/plain", f"match {_STORE} {{in}}/npz/breastmnist.npz --out {{out}}/m.csv", 0.8),
        Command("match/force", f"match {_STORE} {{in}}/npz/breastmnist.npz --out {{out}}/m.csv --force", 0.8,
                before="other/files"),
        Command("audit/plain", f"audit {_STORE} --csv {{out}}/a.csv", 0.8),
        Command("audit/force", f"audit {_STORE} --csv {{out}}/a.csv --force", 0.8, before="other/files"),
        Command("verify/plain", f"verify {_STORE} --against-official --npz {{in}}/npz", 0.5),
        Command("evaluate/plain", "evaluate {result} --stores {in}/stores", 0.5),
        Command("report/plain", "report {in}/runs --out {out}/page.html", 1.2, seconds=60, heavy=True),
        Command("decathlon/plain", "decathlon --stores {in}/stores --out {out} --method sklearn --budget 0.3", 1.2,
                unsteady=_RUN, optional=("*/scores.json", "*/resamples.npz"), seconds=90, heavy=True),
        Command("train/plain", f"train {_STORE} --protocol quick --model resnet18 --epochs 1 --out {{out}}/run", 0.4,
                unsteady=_RUN, seconds=120, heavy=True),
    )
}
