"""Methods that are commands, and what a method is not given: the labels that it is tested by."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import ArgumentError, MmtkError, StoreError
from mmtk.loader import Batches
from mmtk.loader import _data as data
from mmtk.runs import find_runs, rows_of
from mmtk.scoring import read_outside
from mmtk.training import _supervised, _supervisor, choose_methods, commands, decathlon, get_method
from mmtk.training.methods import Job
from tests.commands import environment, invoke
from tests.small_stores import MULTILABEL, store_of, write_small_store

START = '''
import json, os, signal, subprocess, sys, time
import numpy as np

folder = sys.argv[-1]
task = json.load(open("task.json"))
given = {name: dict(np.load(f"{name}.npz")) for name in ("train", "val", "test")}

def save(name, scores):
    np.save(f"half_{name}.npy", scores)
    os.replace(f"half_{name}.npy", f"scores_{name}.npy")

def random(name):
    return np.random.default_rng(task["seed"]).random((task["images"][name], len(task["classes"])))

def leave(*names):
    for name in names or ("train", "val", "test"):
        save(name, random(name))
'''
LONG = 600.0  # seconds: a budget that is not used up


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch):
    monkeypatch.setattr(_supervised, "_TICK", 0.02)


@pytest.fixture
def small(tmp_path):
    return store.open(write_small_store(tmp_path / "stores" / "breastmnist_8.h5"))


def write_tool(folder: Path, body: str, name: str = "tool") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(START + body)
    return path


def method(folder: Path, body: str, name: str = "tool"):
    return commands.method_of(f"{name}={shlex.join([sys.executable, str(write_tool(folder, body, name))])}")


def run(opened, tmp_path, body, budget=LONG, **more):
    return method(tmp_path / "tools", body).run(Job(opened, tmp_path / "run", budget, **more))


def run_shell(opened, tmp_path, body, budget=LONG):
    """Run a command in sh, which has begun within a short budget on a busy machine too; in `ready` lie its scores."""
    ready, tool = tmp_path / "ready", tmp_path / "tool.sh"
    ready.mkdir(exist_ok=True)
    for name, count in opened.counts.items():
        np.save(ready / f"scores_{name}.npy", np.random.default_rng(0).random((count, 2)))
    tool.write_text(f"ready={shlex.quote(str(ready))}\n{body}\n")
    return commands.method_of(f"tool=sh {shlex.quote(str(tool))}").run(Job(opened, tmp_path / "run", budget))


def failing(opened, tmp_path, body, budget=LONG, by=run) -> str:
    with pytest.raises(MmtkError) as raised:
        by(opened, tmp_path, body, budget)
    told = str(raised.value)
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "run" / "result.json").exists()
    return told


def record(tmp_path) -> dict:
    return json.loads((tmp_path / "run" / "command.json").read_text())


def is_gone(pid: int) -> bool:
    """Whether a process ends within some seconds; one that nobody has reaped yet has."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


# ----------------------------------------------------------------- what a command is given and leaves


@pytest.mark.parametrize("kind", [
    {}, {"task": "multi-class", "classes": 4, "channels": 3}, {"task": MULTILABEL, "classes": 3},
    {"task": "ordinal-regression", "classes": 3}, {"flag": "vesselmnist3d", "ndim": 3},
])
def test_a_command_gets_the_task_and_its_scores_are_a_result(tmp_path, kind) -> None:
    opened = store.open(write_small_store(tmp_path / "x.h5", **kind))
    body = """
for name in ("train", "val"):
    assert sorted(given[name]) == ["images", "labels"] and given[name]["labels"].dtype == np.uint8
    np.save(f"../{name}_labels.npy", given[name]["labels"])
assert sorted(given["test"]) == ["images"] and given["test"]["images"].dtype == np.uint8
assert list(given["test"]["images"].shape) == [task["images"]["test"], *task["shape"]]
np.save("../test_images.npy", given["test"]["images"])
os.replace("task.json", "../task.json")
leave()
"""
    result = run(opened, tmp_path, body, seed=3, device="cpu")
    out, info = tmp_path / "run", opened.info
    assert result.images == opened.counts
    assert not (out / "work").exists()
    task = json.loads((out / "task.json").read_text())
    assert 0 < task.pop("budget") < LONG
    assert task == {
        "version": 1, "dataset": info.flag, "title": info.title, "task": info.task, "classes": list(info.classes),
        "shape": list(info.row_shape), "images": opened.counts, "seed": 3, "device": "cpu",
    }
    for name in ("train", "val"):
        assert np.array_equal(np.load(out / f"{name}_labels.npy"), getattr(opened, name).labels)
    assert np.array_equal(np.load(out / "test_images.npy"), opened.test.images)
    scores = np.random.default_rng(3).random((9, len(info.classes)))
    assert np.array_equal(read_outside(out / result.files["test"], opened, "test"), scores)
    told = record(tmp_path)
    assert (told["exit_code"], told["signal"], told["ended"]) == (0, None, "by itself")
    assert 0 < told["command_seconds"] <= told["seconds"] <= result.seconds + 0.001
    assert 5e6 < told["memory"] < 1e9
    assert json.loads((out / "config.json").read_text())["command"] == [sys.executable, str(tmp_path / "tools/tool.py")]


SEARCH = """
import pathlib, zipfile
found = [repr(sys.argv), json.dumps(dict(os.environ))]
for handle in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []:
    try:
        found.append(os.readlink(f"/proc/self/fd/{handle}"))
    except OSError:
        pass
arrays = []
for path in sorted(pathlib.Path(folder).parent.rglob("*")):
    found.append(str(path))
    if path.suffix == ".npz":
        arrays += [(path.name, name, array) for name, array in np.load(path).items()]
        found += zipfile.ZipFile(path).namelist()
    elif path.is_file():
        found.append(path.read_bytes().decode("latin-1"))
secrets = json.load(open(os.environ["SECRETS"]))
text = "\\n".join(found).replace(os.environ["SECRETS"], "")
told = [secret for secret in secrets["texts"] if secret in text]
labels = np.array(secrets["labels"])
told += [f"{file} {name}" for file, name, array in arrays for column in (array if array.ndim == 2 else [])
         if file == "test.npz" or (len(column) == len(labels) and (column == labels).all())]
told += [f"{file} {name}" for file, name, array in arrays if len(array) == len(labels) and name != "images"]
print("told", told)
assert not told and len(arrays) == 5, told
leave()
"""


def test_a_command_that_searches_all_it_was_given_finds_no_test_label(tmp_path, monkeypatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (35, 8, 8), np.uint8)
    labels = np.arange(35) % 2
    names = [f"{'malignant' if label == 0 else 'benign'} ({row}).png" for row, label in enumerate(labels)]
    opened = store_of(tmp_path / "stores", images, labels, names=names, cuts=[20, 26])
    secrets = tmp_path / "secrets.json"
    texts = [*names, str(tmp_path / "stores"), "breastmnist_8.h5"]
    secrets.write_text(json.dumps({"texts": texts, "labels": opened.test.labels[:, 0].tolist()}))
    for name, value in (("SECRETS", secrets), ("MMTK_STORES", tmp_path / "stores"), ("MMTK_SOURCES", tmp_path)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path / "stores")
    monkeypatch.setenv("OLDPWD", str(tmp_path / "stores"))
    monkeypatch.setenv("PWD", str(tmp_path / "stores"))
    assert run(opened, tmp_path, SEARCH).images["test"] == 9


def test_words_are_taken_as_they_are_given_and_files_are_found_from_anywhere(tmp_path, small, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tool(tmp_path, "json.dump(sys.argv, open('../argv.json', 'w'))\nleave()", "own")
    (tmp_path / "weights").mkdir()
    text = f"own={shlex.quote(sys.executable)} own.py --in={{folder}} './weights' {{scripts}} 'two words' plain"
    made = get_method(f"cmd:{text}")
    monkeypatch.chdir("/")
    made.run(Job(small, tmp_path / "run", LONG))
    folder = str(tmp_path / "run" / "work")
    assert json.loads((tmp_path / "run" / "argv.json").read_text()) == [
        str(tmp_path / "own.py"), f"--in={folder}", str(tmp_path / "weights"), str(commands.SCRIPTS), "two words",
        "plain",
    ]
    script = "true " + "x" * 5000
    assert commands.method_of(f"own=sh -c '{script}'").settings["words"] == ["sh", "-c", script]
    given = json.loads((tmp_path / "run" / "config.json").read_text())["command"]
    assert given[1:4] == ["own.py", "--in={folder}", "./weights"]


@pytest.mark.parametrize("kind", ["one column", "text", "integers"])
def test_scores_may_be_arrays_or_text(tmp_path, small, kind) -> None:
    save = {
        "one column": "np.save(f'scores_{name}.npy', random(name)[:, 1].astype(np.float32))",
        "text": "np.savetxt(f'scores_{name}.csv', random(name), delimiter=',')",
        "integers": "np.save(f'scores_{name}.npy', np.eye(2, dtype=int)[np.arange(task['images'][name]) % 2])",
    }[kind]
    result = run(small, tmp_path, f"for name in given:\n    {save}")
    rows = np.loadtxt(tmp_path / "run" / result.files["test"], delimiter=",")[:, 1:]
    assert rows.shape == (9, 2)
    assert np.allclose(rows.sum(axis=1), 1) != (kind == "text")


# ------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(("body", "says"), [
    ("print('loading'); raise LookupError('no weights')",
     "method tool: its command failed: exit code 1 after"),
    ("leave(); sys.exit(3)", "method tool: its command failed: exit code 3 after"),
    ("leave(); os.kill(os.getpid(), signal.SIGKILL)",
     "method tool: its command failed: SIGKILL, possibly out of memory after"),
    ("leave(); os.kill(os.getpid(), signal.SIGSEGV)", "method tool: its command failed: SIGSEGV after"),
    ("leave(); os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
     "method tool: the process that supervises its command was killed"),
    ("print('only two'); leave('train', 'val')", "scores_test.npy: was not written, nor was scores_test.csv: "
     "exit code 0 after"),
    ("leave(); save('val', np.full((6, 2), np.nan))",
     "scores_val.npy: the scores of image 0 are not all finite; found nan,nan"),
    ("leave(); save('test', np.ones((8, 2)))", "scores_test.npy: found float64 of shape (8, 2), "
     "expected numbers of shape (9, 2) or (9,) or (9, 1)"),
    ("leave(); save('test', np.array([['a', 'b']] * 9))", "expected numbers of shape (9, 2)"),
    ("leave(); save('test', np.full((9, 2), {}))", "expected numbers of shape (9, 2)"),
    ("leave(); os.truncate('scores_test.npy', 200)",
     "scores_test.npy: is damaged; found 72 bytes of data, expected 144"),
    ("leave(); os.truncate('scores_test.npy', 0)",
     "scores_test.npy: is not an array written by numpy.save: EOF: reading magic string"),
    ("leave(); open('scores_test.npy', 'r+b').write(b'\\x93NUMPY\\1\\0v\\0' + b'{' * 118)",
     "scores_test.npy: is not an array written by numpy.save: "),
    ("leave(); save('test', np.full((9, 2), np.longdouble('1e4000')))",
     "scores_test.npy: the scores of image 0 are not all finite; found inf,inf"),
    ("leave(); open('scores_test.npy', 'ab').write(b'more')", "found more data, expected 144 bytes"),
    ("leave(); save('test', np.full((9, 2), 1.5))", "image 0 are not between 0 and 1; found [1.5, 1.5]"),
    ("leave(); os.truncate('scores_test.npy', 10**8)", "bytes, expected at most"),
    ("leave(); os.rename('scores_test.npy', 'x'); os.symlink('x', 'scores_test.npy')",
     "scores_test.npy: found a link, expected a regular file"),
    ("leave(); os.remove('scores_test.npy'); os.symlink('/dev/zero', 'scores_test.csv')",
     "scores_test.csv: found a link, expected a regular file"),
    ("leave(); os.remove('scores_test.npy'); os.mkdir('scores_test.npy')",
     "scores_test.npy: found a folder, expected a regular file"),
    ("leave(); os.remove('scores_test.npy'); os.mkfifo('scores_test.npy')",
     "scores_test.npy: found a special file, expected a regular file"),
    ("leave(); os.remove('scores_test.npy'); open('scores_test.csv', 'w').write('0.5,0.5\\n' * 7 + '0.5')",
     "scores_test.csv line 8: found 1 columns, expected 2"),
])
def test_what_a_command_does_wrong_is_one_line(tmp_path, small, body, says) -> None:
    assert says in failing(small, tmp_path, body)
    assert (tmp_path / "run" / "work" / "task.json").exists()


@pytest.mark.parametrize("wrong", [
    "", "os.rename('scores_test.npy', 'x'); os.symlink('x', 'scores_test.npy')",
    "os.remove('scores_test.npy'); os.mkdir('scores_test.npy')",
])
def test_scores_of_an_attempt_that_failed_do_not_count_and_it_may_be_mended(tmp_path, small, wrong) -> None:
    failing(small, tmp_path, f"leave(); {wrong}\nsys.exit(3)")
    assert "scores_train.npy: was not written" in failing(small, tmp_path, "")
    assert run(small, tmp_path, "leave()").images["test"] == 9
    assert not (tmp_path / "run" / "work").exists()


def test_what_it_printed_last_is_told_and_all_of_it_is_kept(tmp_path, small, monkeypatch) -> None:
    told = failing(small, tmp_path, "print('one'); print('two \\x1b[1m\\xff', file=sys.stderr)\nsys.exit(2)")
    assert "exit code 2 after" in told
    assert "(two \\x1b[1m" in told
    assert told.endswith(str(tmp_path / "run" / "output.txt"))
    assert (tmp_path / "run" / "output.txt").read_text().startswith("one\ntwo ")


def test_of_endless_output_the_beginning_and_the_end_are_kept(tmp_path, small) -> None:
    run(small, tmp_path, "print('first')\nfor _ in range(5000):\n    print('x' * 1023)\nprint('last')\nleave()")
    kept = (tmp_path / "run" / "output.txt").read_bytes()
    assert kept.startswith(b"first\nxxx")
    assert kept.endswith(b"xxx\nlast\n")
    assert len(kept) == _supervisor.HEAD + _supervisor.TAIL + len(b"\n[... left out ...]\n")


@pytest.mark.parametrize(("text", "says"), [
    ("tool", "method cmd:tool: there is no =; expected cmd:NAME=WORDS"),
    ("tool=", "method cmd:tool: found command ''"),
    ("tool='", "method cmd:tool: its command cannot be split into words: No closing quotation"),
    ("two words=x", "method cmd:two words: found name 'two words', expected letters"),
    ("sklearn=x", "method cmd:sklearn: the name sklearn is taken"),
])
def test_a_command_that_is_told_badly_is_refused(text, says) -> None:
    with pytest.raises(ArgumentError) as raised:
        get_method(f"cmd:{text}")
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(("words", "says"), [
    ("nosuch-program", "method x: the program nosuch-program cannot be started: no such file"),
    ("./nosuch/program", "method x: the program ./nosuch/program cannot be started: no such file"),
    ("/dev/null", "method x: the program /dev/null cannot be started: permission denied"),
])
def test_a_program_that_is_not_there_is_one_line(tmp_path, small, words, says) -> None:
    with pytest.raises(MmtkError) as raised:
        commands.method_of(f"x={words}").run(Job(small, tmp_path / "run", LONG))
    assert str(raised.value).startswith(says)


def test_a_toml_tells_a_command(tmp_path, small, monkeypatch) -> None:
    tool = write_tool(tmp_path / "tools", "leave()")
    path = tmp_path / "tools" / "mine.toml"
    path.write_text(f"name = 'mine'\ntitle = 'My tool'\ncommand = {json.dumps([sys.executable, 'tool.py'])}\n")
    made = get_method(str(path))
    assert (made.name, made.title, made.settings["words"]) == ("mine", "My tool", [sys.executable, str(tool)])
    assert made.settings["command"] == [sys.executable, "tool.py"]
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert again.run(Job(small, tmp_path / "run", LONG, title=made.title)).images["test"] == 9
    path.write_text("name = 'mine'\ncommand = 'python tool.py'\n")
    words = get_method(str(path)).settings["words"]
    assert words == ["python", str(tool)]
    for text, says in (
        ("name = 'mine'\n", "the field command is missing"),
        ("name = 'mine'\ncommand = 'x'\ntitel = 'y'\n", "unknown key titel; did you mean title?"),
        ("name = 'mine'\ncommand = 3\n", "command: found a whole number, expected text or a list"),
        ("name = 'mine'\ncommand = []\n", "found command []"),
        ("name = 'mine'\ncommand = 'x'\ntitle = \"a\\tb\"\n", "expected one line of text"),
        ("name = 'sklearn'\ncommand = 'x'\n", "the name sklearn is taken"),
    ):
        path.write_text(text)
        with pytest.raises(ArgumentError) as raised:
            get_method(str(path))
        assert str(raised.value).startswith(str(path))
        assert says in str(raised.value)
    with pytest.raises(ArgumentError, match=r"nosuch\.toml: .*no such file"):
        get_method("nosuch.toml")


def test_two_methods_of_one_name_are_refused(tmp_path) -> None:
    one, other = "cmd:x=python a.py", "cmd:x=python b.py"
    assert len(choose_methods((), (), (one, one, "sklearn"))) == 2
    with pytest.raises(ArgumentError, match="methods: two different ones are named x"):
        choose_methods((), (), (one, other))


# ----------------------------------------------------------------------------- budgets and processes


def test_what_hangs_is_ended_and_what_it_left_before_counts(tmp_path, small) -> None:
    body = "cp $ready/scores_train.npy $ready/scores_val.npy .\necho searching\nexec sleep 600"
    told = failing(small, tmp_path, body, budget=2, by=run_shell)
    assert "scores_test.npy: was not written" in told
    assert "its budget of 2 s ran out, SIGTERM (searching)" in told
    result = run_shell(small, tmp_path, "cp $ready/* .\nexec sleep 600", budget=2)
    assert result.images["test"] == 9
    assert record(tmp_path)["ended"] == "at the end of its budget"
    assert record(tmp_path)["signal"] == "SIGTERM"
    assert result.budget == 2
    assert result.seconds >= 4  # both attempts


def test_the_warning_is_for_the_group_and_who_saves_then_has_time_to(tmp_path, small) -> None:
    body = "(trap 'sleep 0.2; cp $ready/* .; exit 7' TERM; while :; do sleep 0.1; done) &\nwait"
    assert run_shell(small, tmp_path, body, budget=2).images["test"] == 9
    assert record(tmp_path)["signal"] == "SIGTERM"  # the parent, which did not wait for its child


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process's state is read from /proc, of Linux alone")
@pytest.mark.parametrize("how", ["ends", "fails", "hangs", "is deaf", "leaves the group"])
def test_nothing_of_a_command_runs_on(tmp_path, small, monkeypatch, how) -> None:
    monkeypatch.setattr(commands, "GRACE", 0.5)
    body = f"""
{"trap '' TERM" if how == "is deaf" else ""}
{"setsid" if how == "leaves the group" else ""} sleep 600 &
echo $$ $! > ../pids
cp $ready/* .
{"wait" if how in ("hangs", "is deaf") else "exit 1" if how == "fails" else ""}
"""
    if how == "fails":
        failing(small, tmp_path, body, by=run_shell)
    else:
        run_shell(small, tmp_path, body, budget=2 if how in ("hangs", "is deaf") else LONG)
    if how == "is deaf":
        assert record(tmp_path)["signal"] == "SIGKILL"
    pids = (tmp_path / "run" / "pids").read_text().split()
    assert len(pids) == 2
    assert all(is_gone(int(pid)) for pid in pids)


class Stopped(BaseException):
    pass


def test_an_end_of_mmtk_ends_the_command_and_what_it_left_counts(tmp_path, small) -> None:
    body = "leave()\nopen('../pid', 'w').write(str(os.getpid()))\ntime.sleep(600)"

    def stop(done: int, total: int) -> None:
        if (tmp_path / "run" / "pid").exists():
            raise Stopped

    with pytest.raises(Stopped):
        run(small, tmp_path, body, progress=stop)
    assert is_gone(int((tmp_path / "run" / "pid").read_text()))
    before = record(tmp_path)
    assert before["ended"] is None
    inputs = [(tmp_path / "run" / "work" / f"{name}.npz").stat() for name in store.SPLITS]
    body = "open('../inodes', 'w').write(repr([os.stat(f'{name}.npz').st_ino for name in given]))"
    assert run(small, tmp_path, body).images["test"] == 9
    assert (tmp_path / "run" / "inodes").read_text() == repr([one.st_ino for one in inputs])  # equal, so left alone


def test_a_killed_mmtk_leaves_no_command_behind_and_the_next_waits_for_its_end(tmp_path, small) -> None:
    body = """
def end(*_):
    time.sleep(1)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
open("../pid", "w").write(str(os.getpid()))
time.sleep(600)
"""
    tool = write_tool(tmp_path / "tools", body)
    code = (
        "import pathlib, sys\nfrom mmtk import store\nfrom mmtk.training import Job, get_method\n"
        "get_method(sys.argv[1]).run(Job(store.open(sys.argv[2]), pathlib.Path(sys.argv[3]), 600))"
    )
    words = f"cmd:tool={shlex.join([sys.executable, str(tool)])}"
    program = [sys.executable, "-c", code, words, small.path, tmp_path / "run"]
    with subprocess.Popen(program, env=environment()) as child:
        pid = tmp_path / "run" / "pid"
        while child.poll() is None and not (pid.exists() and pid.read_text()):
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    body = """
try:
    os.kill(int(open("../pid").read()), 0)
    sys.exit("two at work in one folder")
except ProcessLookupError:
    leave()
"""
    assert run(small, tmp_path, body).images["test"] == 9


def test_a_budget_that_writing_its_images_uses_up_is_told(tmp_path, small) -> None:
    told = failing(small, tmp_path, "leave()", budget=1e-6)
    assert told == (
        "method tool: writing its images took the whole budget of 1e-06 s; increase the budget"
    )


# ------------------------------------------------------------------------------------ the decathlon


def test_one_command_that_fails_costs_its_own_runs_and_seconds_stand_in_the_table(tmp_path) -> None:
    for flag, channels in (("breastmnist", 1), ("dermamnist", 3)):
        write_small_store(tmp_path / "stores" / f"{flag}_8.h5", flag=flag, channels=channels)
    bad = method(tmp_path / "tools", "open('config.json', 'w').write('{}')\nopen('result.json', 'w').write('{}')\n"
                 "sys.exit('no luck')", "bad")
    good = method(tmp_path / "tools", "time.sleep(0.3)\nleave()", "good")
    out = tmp_path / "runs"
    entries, _ = decathlon.plan_runs(tmp_path / "stores", out, methods=[bad, good], seeds=[0], sizes=[8], budget=60)
    assert pickle.loads(pickle.dumps(entries)) == entries
    told = []
    outcomes = list(decathlon.run_all(entries, follow=told.append))
    assert [bool(outcome.error) for outcome in outcomes] == [True, False, True, False]
    assert "exit code 1 after" in outcomes[0].error
    assert "(no luck)" in outcomes[0].error
    assert all(row.seconds >= 0.3 and row.budget == 60 for row in rows_of(outcomes))
    runs, unfinished = find_runs(out, tmp_path / "stores")
    assert [one.config.settings["method"] for one in runs] == ["good", "good"]
    assert len(unfinished) == 2  # not what the command keeps in its own folder
    again = list(decathlon.run_all(entries[1::2]))
    assert all(outcome.result.reused for outcome in again)
    other = replace(good, settings={**good.settings, "command": ["other"]})
    (outcome, *_) = decathlon.run_all([replace(entries[1], method=other)])
    assert "expected ['other']" in outcome.error


def test_the_command_line_takes_commands_and_shows_their_seconds(tmp_path) -> None:
    write_small_store(tmp_path / "stores" / "breastmnist_28.h5", size=28)
    tool = write_tool(tmp_path / "tools", "leave()")
    told = invoke(
        "decathlon", "--stores", tmp_path / "stores", "--out", tmp_path / "runs", "--budget", 60,
        "--method", f"cmd:mine={sys.executable} {tool}",
    ).stdout
    assert "mine, 60 s" in told
    assert " s of 60 s" in told


# ------------------------------------------------------------------------------- labels that are hidden


@pytest.mark.parametrize("task", ["binary-class", MULTILABEL, "ordinal-regression"])
def test_a_method_gets_test_images_without_labels_wherever_it_is_sent(tmp_path, task) -> None:
    whole = store.open(write_small_store(tmp_path / "x.h5", task=task, classes=2 if task == "binary-class" else 3))
    job = Job(whole, tmp_path / "run", 1.0)
    jobs = [job, replace(job, seed=1), pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(job))))]
    for one in jobs:
        hidden = one.store
        for split in (hidden.test, pickle.loads(pickle.dumps(hidden.test)), hidden.splits[2]):
            for name in ("labels", "records"):
                with pytest.raises(StoreError) as raised:
                    getattr(split, name)
                assert f"{name} are hidden from methods" in str(raised.value)
            assert len(split) == 9
            assert np.array_equal(split.images, whole.test.images)
            targets = data.data_of(split, ordinal=task == "ordinal-regression").targets
            assert np.isnan(targets).all() if targets.dtype.kind == "f" else (targets == -1).all()
            assert not {"labels", "records"} & {*vars(split), *split._read, *split.changes()}
        assert hidden._read.get("test") is None
        assert hidden.counts == whole.counts
        with pytest.raises(StoreError):
            hidden.content_digest()
        assert np.array_equal(hidden.val.labels, whole.val.labels)
        scores = {split.name: np.random.default_rng(0).random((len(split), len(whole.info.classes)))
                  for split in hidden.splits}
        result = replace(one, out=tmp_path / f"run{one.seed}").leave({"method": "mine"}, lambda scores=scores: scores)
        assert result.images == whole.counts
    assert pickle.loads(pickle.dumps(data.data_of(jobs[0].store.test))).targets.shape[0] == 9


def test_networks_and_their_batches_need_no_test_label(tmp_path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from mmtk.training import fit

    job = Job(store.open(write_small_store(tmp_path / "x.h5", size=28)), tmp_path / "run", 1.0)
    images, labels = next(iter(Batches(job.store.test, 9)))
    assert images.shape == (9, 1, 28, 28)
    assert torch.equal(labels, torch.full((9,), -1))
    assert fit(job.store, "quick", "resnet18", job.out, epochs=1, device="cpu").images["test"] == 9


def test_a_store_whose_file_is_gone_stays_without_labels(tmp_path) -> None:
    hidden = store.without_labels(store.open(write_small_store(tmp_path / "x.h5")))
    (tmp_path / "x.h5").unlink()
    assert store.with_labels(hidden).test.labels.shape == (9, 1)
    sent = pickle.loads(pickle.dumps(hidden))
    assert np.array_equal(sent.test.images, hidden.test.images)
    with pytest.raises(StoreError, match="labels are hidden from methods"):
        sent.test.labels  # noqa: B018
    with pytest.raises(StoreError, match="cannot be scored: its test labels were lost"):
        store.with_labels(sent)
