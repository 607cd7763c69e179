"""The Decathlon past one machine: a scheduler of Dask with workers, shards, and one table of what all of them made."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

import mmtk
from mmtk import cluster, files
from mmtk.errors import BusyError, MmtkError
from mmtk.runs import Entry
from mmtk.training import plan_runs, run_all, take_shard
from mmtk.training.methods import Method
from tests.commands import LIMIT, environment, invoke, run_mmtk
from tests.small_stores import write_small_store

HERE = Path("/proc/self/cwd")  # another folder in each process: what one sees there another does not
METHOD = """
import os, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from mmtk.training import get_protocol, register
from mmtk.training.methods import train

GO = Path(__file__).with_name("go")  # once it is there, nobody waits any more

@register("slow", "slow")
def slow(job):
    def predict():
        job.out.joinpath("pids").open("a").write(f"{os.getpid()}\\n")
        for step in range(SECONDS * 20):
            job.progress(step, SECONDS * 20)
            if GO.exists():
                break
            time.sleep(0.05)
        return {s.name: np.random.default_rng(0).random((len(s), len(s.info.classes))) for s in job.store.splits}
    return job.leave({"method": "slow"}, predict)

@register("gated", "gated")
def gated(job):
    def progress(done, total):
        job.progress(done, total)
        while (job.out / "metrics.jsonl").stat().st_size and not GO.exists():
            time.sleep(0.05)
    return train(replace(job, progress=progress), model="resnet18", protocol=get_protocol("quick"), epochs=3)

@register("device", "device")
def device(job):
    raise ValueError(f"{job.device} of {os.getpid()}")

@register("dying", "dying")
def dying(job):
    os._exit(1)

@register("failing", "failing")
def failing(job):
    raise ValueError("as told")
"""


@pytest.fixture
def stores(tmp_path) -> Path:
    folder = tmp_path / "stores"
    for flag in ("breastmnist", "pneumoniamnist"):
        write_small_store(folder / f"{flag}_8.h5", (64, 12, 12), flag=flag)
    return folder


def write_methods(folder: Path, seconds: int = 2) -> Path:
    path = folder / "slow_methods.py"
    path.write_text(f"SECONDS = {seconds}\n{METHOD}")
    return path


# -------------------------------------------------------------------------- a scheduler and workers, as one starts them


@contextmanager
def started(*words: object, log: Path, **env: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask's command line."""
    pytest.importorskip("distributed", reason="distributed is not installed")
    with log.open("wb") as out:
        command = [sys.executable, "-m", "dask", *map(str, words)]
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=environment(**{"OMP_NUM_THREADS": "1", **env}), cwd=log.parent
        )
    try:
        yield process
    finally:
        if "--nanny" in words:  # which ends its worker
            process.terminate()
        else:
            process.kill()
        process.wait(timeout=LIMIT)


def wait_for(what: Callable[[], object], log: Path | None = None) -> object:
    end = time.monotonic() + LIMIT / 5
    while not (found := what()):
        assert time.monotonic() < end, log and log.read_text()
        time.sleep(0.05)
    return found


class Cluster:
    """A scheduler, and workers by their process ids."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        folder.mkdir()
        self.file = folder / "scheduler.json"
        self.workers: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, workers: int = 0, **env: object) -> str:
        log = self.folder / "scheduler.log"
        words = ("scheduler", "--host", "127.0.0.1", "--port", 0, "--dashboard-address", "127.0.0.1:0",
                 "--scheduler-file", self.file)
        self.scheduler = self.stack.enter_context(started(*words, log=log, **env))
        wait_for(lambda: self.file.exists() and self.file.read_text().endswith("}"), log)
        for _ in range(workers):
            self.add()
        return str(json.loads(self.file.read_text())["address"])

    def add(self, *words: object) -> subprocess.Popen[bytes]:
        log = self.folder / f"worker{len(self.workers)}.log"
        options = ("--no-nanny", "--nthreads", 1, "--memory-limit", 0, "--no-dashboard", *words)
        worker = self.stack.enter_context(started("worker", "--scheduler-file", self.file, *options, log=log))
        self.workers[worker.pid] = worker
        wait_for(lambda: "Registered to" in log.read_text(), log)
        return worker


@pytest.fixture
def dask(tmp_path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path / "dask", stack)


def decathlon(stores: Path, out: Path, *more: object) -> list[object]:
    return ["decathlon", "--stores", stores, "--out", out, "--size", 8, *more]


@contextmanager
def background(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "mmtk", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment(), **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kept(out: Path) -> dict[str, bytes]:
    """Predictions, weights and results without clocks."""
    paths = [path for path in sorted(out.rglob("*")) if path.suffix in (".csv", ".pt") and path.name != "last.pt"]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def test_a_run_whose_worker_is_killed_goes_on_from_its_last_epoch_on_another(stores, tmp_path, dask):
    pytest.importorskip("torch", reason="torch is not installed")
    plugin, out, alone = write_methods(tmp_path), tmp_path / "runs", tmp_path / "alone"
    (stores / "pneumoniamnist_8.h5").unlink()
    address = dask.start(workers=1)
    method = ("--method", "gated", "--device", "cpu", "--scheduler", address)
    with background("--plugin", plugin, *decathlon(stores, out, *method, "--json")) as coordinator:
        (log,) = wait_for(lambda: [path for path in out.rglob("metrics.jsonl") if path.read_bytes().count(b"\n")])
        before = log.read_text().splitlines()
        (victim,) = dask.workers.values()
        victim.kill()
        dask.add()
        (tmp_path / "go").touch()
        stdout, stderr = coordinator.communicate(timeout=LIMIT)
    assert coordinator.returncode == 0, stderr
    assert [run.get("error") for run in json.loads(stdout)["runs"]] == [None]
    after = log.read_text().splitlines()
    assert after[:1] == before  # seconds and all, so none was trained again
    assert [json.loads(line)["epoch"] for line in after] == [1, 2, 3]
    run_mmtk("--plugin", plugin, *decathlon(stores, alone, *method), code=0)
    assert kept(out) == kept(alone) != {}


def test_other_workers_take_over_plugins_errors_and_what_kills_them(stores, tmp_path, dask):
    plugin, out = write_methods(tmp_path, seconds=1), tmp_path / "runs"
    (stores / "pneumoniamnist_8.h5").unlink()
    address = dask.start(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0)
    dask.add("--nanny")  # which starts another in the place of one that dies
    methods = [word for name in ("slow", "failing", "dying") for word in ("--method", name)]
    done = run_mmtk("--plugin", plugin, *decathlon(stores, out, *methods, "--scheduler", address), code=1)
    assert "Traceback" not in done.stderr
    (slow,) = re.findall(r"^\d/3 .*slow, 8 px, seed 0: .*", done.stderr, re.MULTILINE)
    assert "AUC" in slow
    assert re.search(r"failing, 8 px, seed 0: ValueError: as told \(slow_methods.py line \d+\)\n", done.stderr)
    died = "workers: 1 died during this run, the last was tcp://127.0.0.1:"
    assert f"dying, 8 px, seed 0: {died}" in done.stderr
    kept = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/*/outcome.json")}
    assert {name: "error" in facts for name, facts in kept.items()} == {
        "slow_seed0": False, "failing_seed0": True, "dying_seed0": True,
    }


def test_runs_stop_with_the_coordinator_and_a_lost_scheduler_is_said(stores, tmp_path, dask):
    plugin, out = write_methods(tmp_path, seconds=100), tmp_path / "runs"
    address = dask.start(workers=1)
    command = ["--plugin", plugin, *decathlon(stores, out, "--method", "slow", "--scheduler", address)]
    for number, stop in enumerate((signal.SIGINT, signal.SIGKILL), 1):
        with background(*command) as coordinator:
            (pids,) = wait_for(lambda n=number: [p for p in out.rglob("pids") if p.read_text().count("\n") == n])
            assert list(out.glob("*/*")) == [pids.parent]  # none of the run that waits, which may be another's soon
            coordinator.send_signal(stop)
            stderr = coordinator.communicate(timeout=LIMIT)[1]
        assert coordinator.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL)
        assert stop == signal.SIGKILL or stderr.splitlines()[-1] == "mmtk: interrupted"
        wait_for(lambda pids=pids: not (pids.parent / ".lock").exists())  # in the worker, which lives
    assert {path.parent.name for path in out.rglob("config.json")} == {"slow_seed0"}
    assert len(list(out.iterdir())) == 2
    with background(*command) as coordinator:
        wait_for(lambda: pids.read_text().count("\n") == 3)
        dask.scheduler.kill()
        stderr = coordinator.communicate(timeout=LIMIT)[1]
    assert coordinator.returncode == 2, stderr
    assert stderr.splitlines()[-1].startswith(
        f"mmtk: error: scheduler {address}: the connection was lost"
    )


def test_a_worker_that_is_asked_to_end_gives_its_run_to_another_at_once(stores, tmp_path, dask):
    plugin, out = write_methods(tmp_path, seconds=100), tmp_path / "runs"
    (stores / "pneumoniamnist_8.h5").unlink()
    address = dask.start(workers=2)
    command = ["--plugin", plugin, *decathlon(stores, out, "--method", "slow", "--scheduler", address)]
    with background(*command) as coordinator:
        (pids,) = wait_for(lambda: [path for path in out.rglob("pids") if path.read_text().count("\n") == 1])
        worker = dask.workers[int(pids.read_text())]
        worker.terminate()
        worker.wait(timeout=LIMIT)  # with a run that is let go of
        (tmp_path / "go").touch()
        stderr = coordinator.communicate(timeout=LIMIT)[1]
    assert coordinator.returncode == 0, stderr
    assert set(map(int, pids.read_text().split())) == set(dask.workers)


def test_the_command_of_a_worker_that_is_asked_to_end_ends_with_it(stores, tmp_path, dask):
    tool, out = tmp_path / "tool.py", tmp_path / "runs"
    tool.write_text(TOOL)
    (stores / "pneumoniamnist_8.h5").unlink()
    address = dask.start(workers=1)
    words = f"cmd:tool={shlex.join([sys.executable, str(tool)])}"
    with background(*decathlon(stores, out, "--method", words, "--scheduler", address)) as coordinator:
        pids = out / "breastmnist_8" / "tool_seed0" / "pids"
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        (worker,) = dask.workers.values()
        worker.terminate()
        worker.wait(timeout=LIMIT)
        wait_for(lambda: not any(map(is_at_work, pids.read_text().split())))
        (tmp_path / "go").touch()
        dask.add()
        stderr = coordinator.communicate(timeout=LIMIT)[1]
    assert coordinator.returncode == 0, stderr
    assert len(set(pids.read_text().split())) == 4
    assert not (pids.parent / "work").exists()


TOOL = """
import json, os, subprocess, sys, time
import numpy as np
from pathlib import Path
child = subprocess.Popen(["sleep", "600"])
open("../pids", "a").write(f"{os.getpid()}\\n{child.pid}\\n")
while not Path(__file__).with_name("go").exists():
    time.sleep(0.05)
task = json.load(open("task.json"))
for name, count in task["images"].items():
    np.save(f"scores_{name}.npy", np.random.default_rng(0).random((count, 2)))
"""


def is_at_work(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_runs_for_a_gpu_go_to_workers_that_declare_one(stores, tmp_path, dask):
    plugin, out = write_methods(tmp_path), tmp_path / "runs"
    address = dask.start(workers=1)
    gpu = dask.add("--resources", "GPU=1")
    command = decathlon(stores, out, "--method", "device", "--seeds", 2, "--device", "cuda", "--scheduler", address)
    done = run_mmtk("--plugin", plugin, *command, code=1)
    assert re.findall(r"ValueError: (\w+) of (\d+)", done.stderr) == [("cuda", str(gpu.pid))] * 4


@pytest.mark.skipif(not HERE.exists(), reason="only Linux has a path that is another in each process")
def test_a_worker_that_does_not_see_a_store_is_named(stores, tmp_path, dask):
    plugin = write_methods(tmp_path)
    address = dask.start(workers=1)
    (stores / "pneumoniamnist_8.h5").unlink()
    command = decathlon(HERE / "stores", tmp_path / "runs", "--method", "slow", "--scheduler", address)
    done = run_mmtk("--plugin", plugin, *command, code=1, cwd=tmp_path)
    assert f"{HERE}/stores/breastmnist_8.h5: does not exist on {socket.gethostname()}" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_wrong_with_a_scheduler_is_said_in_one_line(stores, tmp_path, dask, monkeypatch):
    pytest.importorskip("distributed", reason="distributed is not installed")
    out = tmp_path / "runs"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with monkeypatch.context() as patch:
            patch.setattr(cluster, "CONNECT_SECONDS", 0.5)
            refused = invoke(*decathlon(stores, out, "--scheduler", nobody), code=1)
    assert str(refused.exception).startswith(f"scheduler {nobody}: ")
    assert "no answer within 0.5 s" in str(refused.exception)
    other = write_versions(tmp_path, dask="2024.1.0")
    address = dask.start(DASK_DISTRIBUTED__SCHEDULER__PRELOAD=str([str(other)]))
    done = run_mmtk(*decathlon(stores, out, "--scheduler", address), code=2)
    assert re.fullmatch(rf"mmtk: error: scheduler {address}: has dask 2024.1.0; expected dask [\d.]+.*\n", done.stderr)
    assert not out.exists()


def write_versions(folder: Path, **others: str) -> Path:
    """A module for a scheduler or worker to load first: packages are of other versions there."""
    path = folder / "other.py"
    path.write_text(
        "from distributed import versions\n"
        f"others = {others}\n"
        "def told(name, known=versions._version_cached):\n    return others.get(name) or known(name)\n"
        "versions._version_cached = told\n"
    )
    return path


def test_a_worker_of_another_mmtk_is_refused_and_one_that_hangs_holds_nobody_up(tmp_path, dask, monkeypatch):
    other = write_versions(tmp_path, mmtk="0.0.1")
    address = dask.start(workers=1)
    (worker,) = dask.workers.values()

    async def within_a_loop() -> int:  # as in a notebook
        with cluster.connect(address) as client:
            return sum(client.nthreads().values())

    assert asyncio.run(within_a_loop()) == 1
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2.0)
    worker.send_signal(signal.SIGSTOP)
    assert asyncio.run(within_a_loop()) == 1
    worker.send_signal(signal.SIGCONT)
    monkeypatch.undo()
    dask.add("--preload", other)
    with pytest.raises(MmtkError, match=r"worker tcp://.*: has mmtk 0.0.1; expected mmtk "):
        asyncio.run(within_a_loop())
    with pytest.raises(MmtkError, match=f"has mmtk {mmtk.__version__}; expected mmtk 0.0.2"):  # one that came later
        cluster._call("0.0.2", [], b"")


def test_without_dask_the_extra_is_named(stores, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = invoke(*decathlon(stores, tmp_path / "runs", "--scheduler", "tcp://a:1"), code=1)
    assert str(done.exception) == (
        "scheduler tcp://a:1: needs the package distributed, which is not installed; pip install 'mmtk[cluster]'"
    )


# ------------------------------------------------------------------------------------------ shards, without a scheduler


def entries_of(tmp_path: Path, images: dict[str, int], methods: int) -> list[Entry]:
    named = [Method(f"m{number}", f"m{number}", "none:none") for number in range(methods)]
    return [
        Entry(tmp_path / flag, flag, 28, None, count, method, 0, 1.0, None, tmp_path / flag / method.name)
        for flag, count in images.items() for method in named
    ]


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 7, 40])
@pytest.mark.parametrize("methods", [1, 2, 3])
def test_shards_are_disjoint_complete_and_balanced(tmp_path, methods, shards):
    counts = [90_000, 78_000, 7_000, 97_000, 4_700, 1_000, 500, 12_000, 165_000, 34_000, 13_000, 14_000]
    entries = entries_of(tmp_path, {f"set{i}": count for i, count in enumerate(counts)}, methods)
    parts = [take_shard(entries, number, shards) for number in range(1, shards + 1)]
    names = [entry.out for part in parts for entry in part]
    assert sorted(names) == sorted(entry.out for entry in entries)
    assert len(set(names)) == len(names)
    assert max(map(len, parts)) - min(map(len, parts)) <= 2
    for part in parts:
        assert part == [entry for entry in entries if entry in part]  # in the order of tables
    if shards == 4:
        large = [sum(entry.images > 50_000 for entry in part) for part in parts]
        assert max(large) - min(large) <= 1


def test_shards_make_their_runs_and_the_table_is_that_of_all(stores, tmp_path):
    plugin, out = write_methods(tmp_path, seconds=1), tmp_path / "runs"
    command = ["--plugin", plugin, *decathlon(stores, out, "--method", "slow")]
    with ExitStack() as stack:
        shards = [stack.enter_context(background(*command, "--shard", f"{i}/3")) for i in (1, 2, 3)]
        told = [shard.communicate(timeout=LIMIT)[1] for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0, 0], told
    assert [len(re.findall("^1/1 ", text, re.MULTILINE)) for text in told] == [1, 1, 0]
    assert len(json.loads((out / "results.json").read_text())["runs"]) == 2
    done = run_mmtk(*command, code=0)
    assert done.stderr.count("(finished before)") == 2
    wrong = run_mmtk(*command, "--shard", "4/3", code=2)
    assert "4/3 is not I/N" in wrong.stderr


WRITE = """
import sys, time
from pathlib import Path
from mmtk.runs import Outcome, keep_outcome, write_results
from tests.test_cluster import entries_of
out, own = Path(sys.argv[1]), sys.argv[2]
outcomes = []
for entry in entries_of(out, {f"{own}{i}": 1 for i in range(20)}, 1):
    entry.out.mkdir(parents=True)
    outcomes.append(Outcome(entry, error=f"of {own}"))
    keep_outcome(outcomes[-1])
    write_results(outcomes, out)
"""


def test_processes_that_write_results_at_once_lose_none(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path), own], env=environment()) for own in "abc"
    ]
    assert [writer.wait(timeout=LIMIT) for writer in writers] == [0, 0, 0]
    told = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert {run["out"]: run["error"] for run in told} == {f"{a}{i}/m0": f"of {a}" for a in "abc" for i in range(20)}
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".mmtk")] == []


def test_an_error_is_kept_until_the_run_succeeds(stores, tmp_path, monkeypatch):
    def method(job):
        raise ValueError("broken")

    out = tmp_path / "runs"
    monkeypatch.setitem(globals(), "lately", method)
    chosen = [Method("lately", "lately", f"{__name__}:lately", facts={"method": "lately"})]
    entries, _ = plan_runs(stores, out, methods=chosen, seeds=(0,), sizes=[8])
    failed = list(run_all(entries))
    path = entries[0].out / "outcome.json"
    assert json.loads(path.read_text())["error"] == failed[0].error != ""
    monkeypatch.setitem(globals(), "lately", lambda job: job.leave({"method": "lately"}, lambda: {
        split.name: np.full((len(split), 2), 0.5) for split in job.store.splits
    }))
    for _ in range(2):
        assert [outcome.error for outcome in run_all(entries)] == ["", ""]
        facts, stamp = json.loads(path.read_text()), path.stat().st_mtime_ns
        assert "error" not in facts
        assert set(facts["splits"]) == {"train", "val", "test"}
    list(run_all(entries))
    assert path.stat().st_mtime_ns == stamp  # a finished run is left alone


# ----------------------------------------------------------------------------------------------------------- locks


def test_what_is_locked_is_a_file_opened_for_writing(tmp_path, monkeypatch):
    kinds, real = [], fcntl.flock

    def flock(handle: int, how: int) -> None:
        kinds.append((stat.S_ISREG(os.fstat(handle).st_mode), fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_RDWR))
        real(handle, how)

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with files.holding(tmp_path / "run"):
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
        with pytest.raises(BusyError, match="in use by another process"), files.holding(tmp_path / "run"):
            pass
        with files.writing(tmp_path / "whole", folder=True) as temporary:
            files.publish_folder(temporary, tmp_path / "whole")
        files.clear_held(tmp_path / "run")
    assert set(kinds) == {(True, os.O_RDWR)}
    assert not any((tmp_path / "run").iterdir())
    files.clear_held(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_a_holder_lets_no_lock_of_a_later_folder_go(tmp_path):
    folder = tmp_path / "run"
    with files.holding(folder):
        files.remove_folder(folder)
        with files.holding(folder):  # another one, under its name
            pass
        folder_lock = folder / ".lock"
        folder_lock.write_bytes(b"another's")
    assert folder_lock.exists()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write everywhere")
@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_that_cannot_be_written_needs_no_lock(tmp_path, killed):
    hold = "import pathlib, sys; from mmtk import files\nwith files.holding(pathlib.Path(sys.argv[1])): pass\n"
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "result.json").write_text("{}")
    if killed:
        (folder / ".lock").touch(mode=0o444)
    folder.chmod(0o555)
    user = ["setpriv", "--reuid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    done = subprocess.run([*user, sys.executable, "-c", hold, str(folder)], capture_output=True, text=True,
                          env=environment(), check=False, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
