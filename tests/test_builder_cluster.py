"""A build by workers of a Dask scheduler, each a process of its own, against the same build on one machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from mmtk import cluster
from mmtk.builder import build, work
from mmtk.datasets.own import read_dataset
from mmtk.errors import ArgumentError, ImageError, MmtkError, SourceError
from mmtk.phantom import write_phantom
from tests import own_data
from tests.commands import ROOT, invoke, run_python
from tests.small_stores import digests, write_small_store
from tests.test_cluster import Cluster

pytest.importorskip("distributed", reason="the extra cluster is not installed")
HERE = Path("/proc/self/cwd")  # another folder in each process: what one sees there another does not
ORGANS = ("organamnist", "organcmnist", "organsmnist")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        there = Cluster(tmp_path_factory.mktemp("cluster") / "dask", stack)
        there.start(workers=2)
        yield there


@pytest.fixture
def address(machines: Cluster) -> str:
    return str(json.loads(machines.file.read_text())["address"])


@pytest.fixture(scope="module")
def derma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom("dermamnist", tmp_path_factory.mktemp("derma"), scale=0.02)


def when(share: float, act):
    """Of a build's progress: act once, when so much is done."""
    acted = []

    def tell(done: int, total: int) -> None:
        if done >= share * total and not acted:
            acted.append(done)
            act()

    return lambda title: tell


def test_a_worker_killed_in_the_middle_costs_no_byte(
    derma: Path, machines: Cluster, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[int] = []
    submit = cluster.submit

    def counting(*args, **options):
        submitted.append(len(args))
        return submit(*args, **options)

    monkeypatch.setattr(cluster, "submit", counting)
    options = {"sources": derma, "sizes": (28, 64)}
    build("dermamnist", **options, out=tmp_path / "one")
    _, doomed = machines.workers.popitem()

    def kill() -> None:
        assert 2 < len(submitted) <= 3 * 2 + 3, "units under way are not bounded"
        doomed.send_signal(signal.SIGKILL)
        assert doomed.wait() == -signal.SIGKILL

    (*_, result) = build("dermamnist", **options, out=tmp_path / "two", scheduler=address,
                         progress=when(0.1, kill))
    assert doomed.returncode == -signal.SIGKILL
    assert len(submitted) == sum(-(-n // work.BLOCK) for n in result.counts.values()), "a unit was asked for twice"
    assert len(digests(tmp_path / "one")) == 2
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    assert result.seconds["decode"] > 0  # of the workers
    machines.add()


def test_volumes_are_units_too(address: str, tmp_path: Path) -> None:
    lits = write_phantom("organmnist", tmp_path / "src", scale=0.001)
    options = {"sources": lits, "sizes": (28, 64), "edition": "2024"}  # which leaves blank slices out
    build(ORGANS, **options, out=tmp_path / "one")
    build(ORGANS, **options, out=tmp_path / "two", scheduler=address)
    assert len(digests(tmp_path / "one")) == 6
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


def test_a_bad_image_is_told_or_left_out_as_on_one_machine(derma: Path, address: str, tmp_path: Path) -> None:
    sources = shutil.copytree(derma, tmp_path / "src")
    bad = sorted(sources.rglob("*.jpg"))[40]
    bad.write_bytes(bad.read_bytes()[:-200])
    told = []
    for scheduler in (None, address):
        with pytest.raises(ImageError, match=bad.stem) as caught:
            build("dermamnist", sources=sources, out=tmp_path / "stop", scheduler=scheduler)
        told.append(str(caught.value))
    assert told[0] == told[1]
    for out, scheduler in (("one", None), ("two", address)):
        (result,) = build("dermamnist", sources=sources, out=tmp_path / out, scheduler=scheduler, on_error="skip")
        assert result.partial
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    found = [(tmp_path / out / "dermamnist_findings.csv").read_text() for out in ("one", "two")]
    assert bad.stem in found[0]
    assert found[0] == found[1]


def test_a_killed_build_goes_on_with_or_without_the_cluster(derma: Path, address: str, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom mmtk.builder import build, work\nwork._NOTE_SECONDS = 0\n"
        "def tell(done, total):\n    if done > total / 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "build('dermamnist', sources=sys.argv[1], out=sys.argv[2], scheduler=sys.argv[3], progress=lambda _: tell)\n"
    )
    run_python("-c", code, derma, tmp_path / "out", address, code=-signal.SIGKILL)
    assert not list((tmp_path / "out").glob("*.h5"))
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    build("dermamnist", sources=derma, out=tmp_path / "whole")
    for out, scheduler in (("out", address), ("other", None)):
        first: list[int] = []
        told = lambda _, first=first: lambda done, total: first.append(done / total)  # noqa: E731
        build("dermamnist", sources=derma, out=tmp_path / out, scheduler=scheduler, progress=told)
        assert first[0] > 0.4
        assert digests(tmp_path / out) == digests(tmp_path / "whole")


def test_ones_own_data_in_a_zip_of_a_dataset_that_workers_do_not_know(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_data.draw_table(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    plain = read_dataset(own_data.toml(tmp_path / "lung.toml", table=own_data.TABLE))
    dataset = replace(plain, scan=lambda listing: plain.scan(listing))  # as a plugin's: not to be found by a worker
    for out, scheduler in (("one", None), ("two", address)):
        build(dataset, sources=tmp_path / "data.zip", out=tmp_path / out, scheduler=scheduler)
    assert len(digests(tmp_path / "one")) == 1
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    if HERE.exists():
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SourceError, match=r"data\.zip: on worker tcp://.*o such file or directory"):
            build(dataset, sources=HERE / "data.zip", out=tmp_path / "three", scheduler=address)


@pytest.mark.skipif(not HERE.exists(), reason="only Linux has a path that is another in each process")
def test_a_worker_that_does_not_see_a_file_is_named(
    derma: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(derma.parent)  # the workers stand elsewhere
    sources = HERE / derma.name
    for on_error in ("stop", "skip"):
        with pytest.raises(SourceError, match="no such file") as caught:
            build("dermamnist", sources=sources, out=tmp_path, scheduler=address, on_error=on_error)
        assert "cannot be read by worker tcp://127.0.0.1:" in str(caught.value)
        assert str(sources) in str(caught.value)
        assert not isinstance(caught.value, ImageError)


def test_a_scheduler_that_is_lost_is_one_line_and_nothing_done_is(derma: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        mine = Cluster(tmp_path / "dask", stack)
        address = mine.start(workers=1)

        def lose() -> None:
            for process in (mine.scheduler, *mine.workers.values()):
                process.kill()

        with pytest.raises(MmtkError, match=f"scheduler {address}: .* the same command resumes"):
            build("dermamnist", sources=derma, out=tmp_path / "out", scheduler=address, progress=when(0.3, lose))
    build("dermamnist", sources=derma, out=tmp_path / "out")
    build("dermamnist", sources=derma, out=tmp_path / "whole")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_images_that_kill_workers_end_the_build_in_one_line(derma: Path, tmp_path: Path) -> None:
    deadly = tmp_path / "deadly.py"
    deadly.write_text("import os\nfrom mmtk.builder import remote\nremote.process_unit = lambda *_: os._exit(1)\n")
    with ExitStack() as stack:
        mine = Cluster(tmp_path / "dask", stack)
        address = mine.start(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0)
        mine.add("--preload", deadly)
        with pytest.raises(MmtkError, match=r"a worker died on the same images, last tcp://127\.0\.0\.1:"):
            build("dermamnist", sources=derma, out=tmp_path / "out", scheduler=address)
    assert not list((tmp_path / "out").glob("*.h5"))


def test_what_cannot_begin_is_one_line(derma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ("build", "dermamnist", "--sources", derma, "--out", tmp_path)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    done = invoke(*where, "--scheduler", "tcp://127.0.0.1:1", code=1)
    assert isinstance(done.exception, MmtkError)
    assert str(done.exception).startswith("scheduler tcp://127.0.0.1:1: cannot be reached")
    with pytest.raises(ArgumentError, match="workers: cannot be given together with a scheduler"):
        build("dermamnist", sources=derma, out=tmp_path, workers=2, scheduler="tcp://127.0.0.1:1")
    assert not os.listdir(tmp_path)


def test_the_page_joins_shards_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the extra train is not installed")
    page = (ROOT / "docs" / "large-builds.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for number in range(4):
        write_small_store(tmp_path / f"shard{number:02}_224.h5", counts=(300, 6, 9), seed=number)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert len(names["data"]) == 4 * 300  # type: ignore[arg-type]
    assert set(names["classes"].tolist()) <= {0, 1}  # type: ignore[attr-defined]
