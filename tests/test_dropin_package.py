"""The package under medmnist's name: its names and facts, and programs that import it, however they are started."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from importlib import metadata

import pytest

from mmtk.compat import medmnist
from mmtk.compat.medmnist import _running, info
from tests.commands import environment, run_python
from tests.medmnists import STAND_IN, counted, run_both, run_on_ours, script, write_npz

MODULES = ("info", "dataset", "evaluator", "utils")


def test_it_has_the_names_of_medmnist_module_by_module():
    theirs = pytest.importorskip("medmnist")
    assert set(medmnist.__all__) == {name for name in vars(theirs) if not name.startswith("_")} - {"utils"}
    for name in MODULES:
        ours, official = (importlib.import_module(f"{package.__name__}.{name}") for package in (medmnist, theirs))
        assert set(ours.__all__) == {name for name in vars(official) if not name.startswith("_")}
        for public in ours.__all__:
            assert getattr(ours, public) is not None
        assert {public for public in dir(ours) if not public.startswith("_")} == set(ours.__all__)
        assert getattr(medmnist, name) is ours
        with pytest.raises(AttributeError, match="nothing"):
            ours.nothing  # noqa: B018
    assert (medmnist.__version__, info.__version__) == (theirs.__version__, theirs.__version__)
    assert medmnist.HOMEPAGE == theirs.HOMEPAGE
    assert info.get_default_root() == theirs.info.get_default_root()


def test_its_facts_are_medmnists_word_for_word():
    theirs = pytest.importorskip("medmnist")
    assert repr(medmnist.INFO) == repr(theirs.INFO)
    for flag, facts in medmnist.INFO.items():
        ours, official = (getattr(package, facts["python_class"]) for package in (medmnist, theirs))
        assert ours.flag == flag
        assert ours.available_sizes == official.available_sizes
        assert [base.__name__ for base in ours.__mro__[:3]] == [base.__name__ for base in official.__mro__[:3]]


@pytest.mark.parametrize("damage", ["none", "no list", "no table", "not there", "other words"])
def test_without_medmnist_the_descriptions_are_our_own(damage, tmp_path, monkeypatch):
    def distribution(name):
        if damage == "none":
            raise metadata.PackageNotFoundError(name)
        return type("Distribution", (), {"locate_file": lambda self, path: tmp_path / "info.py"})()

    texts = {"no list": "INFO = f()", "no table": "x = 1", "other words": "INFO = {'breastmnist': {'description': 3}}"}
    if damage in texts:
        (tmp_path / "info.py").write_text(texts[damage])
    monkeypatch.setattr(info.metadata, "distribution", distribution)
    assert info._descriptions() == {}
    table = info._table()
    assert table["breastmnist"]["description"].startswith("BreastMNIST: breast ultrasound, from ")
    for flag, facts in medmnist.INFO.items():
        assert {**facts, "description": ""} == {**table[flag], "description": ""}


def test_nothing_of_torch_is_imported_before_it_is_needed():
    code = "import mmtk.compat.medmnist.dataset, mmtk.compat.medmnist.evaluator, sys; print('torch' in sys.modules)"
    assert run_python("-c", code, code=0).stdout.strip() == "False"
    code = "import mmtk.compat.medmnist._running, sys; print('numpy' in sys.modules)"
    assert run_python("-c", code, code=0).stdout.strip() == "False"  # which every program would wait for twice


@pytest.mark.parametrize("first", ["torch.utils.data", "mmtk.compat.medmnist.dataset"])
def test_its_datasets_are_torch_datasets_in_whatever_order_they_are_imported(first):
    pytest.importorskip("torch")
    code = (
        f"import {first}, torch.utils.data as data\nfrom mmtk.compat.medmnist import BreastMNIST, OrganMNIST3D\n"
        "print(issubclass(BreastMNIST, data.Dataset), issubclass(OrganMNIST3D, data.Dataset))"
    )
    assert run_python("-c", code, code=0).stdout.split() == ["True", "True"]


STAR = """
from time import time
from medmnist import *
print(type(time).__name__, sorted(name for name in dir() if not name.startswith("_")))
from medmnist.dataset import *
from medmnist.evaluator import *
from medmnist.utils import *
from medmnist.info import *
print(sorted(name for name in dir() if not name.startswith("_")))
print(Dataset.__module__, os.sep, np.pi, Image.new("L", (2, 2)).size, roc_auc_score([0, 1], [0, 1]))
print(issubclass(BreastMNIST, Dataset), issubclass(BreastMNIST, MedMNIST2D), VesselMNIST3D.available_sizes)
"""


def test_a_star_brings_what_it_brings_of_medmnist(tmp_path):
    pytest.importorskip("torch")
    official, ours = run_both(script(tmp_path, STAR), home=tmp_path)
    assert official == ours
    assert ours.startswith("builtin_function_or_method")


SAME = """
import sys
import medmnist, medmnist.evaluator, medmnist.info
from medmnist.dataset import BreastMNIST
from unittest import mock
import mmtk.compat.medmnist as ours
print(medmnist is ours, medmnist.evaluator is ours.evaluator, BreastMNIST is ours.BreastMNIST, *sys.argv[1:])
medmnist.INFO["breastmnist"]["task"] = "patched"
print(BreastMNIST("val", root=sys.argv[1]).info["task"])
with mock.patch("medmnist.evaluator.getAUC", lambda *_: 7):
    print(medmnist.Evaluator("breastmnist", "val", root=sys.argv[1]).evaluate(ours.dataset.np.ones((78, 2))).AUC)
print(medmnist.__dict__["BreastMNIST"] is BreastMNIST)
files = [str(getattr(module, "__file__", "")) for module in sys.modules.values()]
print([file for file in files if "site-packages/medmnist" in file])
"""


def test_a_program_gets_the_same_modules_under_both_names(tmp_path):
    path = script(tmp_path, SAME)
    counted(tmp_path / "root")
    done = run_on_ours(path, tmp_path / "root", "--b", home=tmp_path)
    assert done.stdout.splitlines() == [f"True True True {tmp_path / 'root'} --b", "patched", "7", "True", "[]"]


PARENT = """
import os, runpy, subprocess, sys
import wrapped
print(os.path.basename(sys.argv[0]), sys.argv[1:], wrapped.where, __name__, __spec__ and __spec__.name)
print(os.path.basename(sys.path[0]) if sys.path[0] else "", sorted(vars())[:4])
if len(sys.argv) > 1:
    for more in (["-m", "wrapped"], ["-c", "import medmnist; print(medmnist.__version__)"]):
        print(subprocess.run([sys.executable, *more], capture_output=True, text=True).stdout)
"""
WRAPPED = """
import medmnist
where = medmnist.dataset.BreastMNIST.__name__
if __name__ == "__main__":
    print("main", where)
"""


@pytest.mark.parametrize("form", ["script", "from elsewhere", "module", "package", "folder", "code"])
@pytest.mark.slow
def test_a_program_starts_as_python_starts_it(form, tmp_path):
    folder = tmp_path / "work"
    script(folder, WRAPPED, "wrapped.py")
    script(folder, PARENT, "parent.py")
    script(folder, PARENT, "__main__.py")
    script(folder / "inner", PARENT, "__main__.py")
    cwd, words = {
        "script": (folder, ["parent.py", "1", "-x"]), "from elsewhere": (tmp_path, ["work/parent.py"]),
        "module": (folder, ["-m", "parent", "1"]), "package": (folder, ["-m", "inner", "1"]),
        "folder": (tmp_path, ["work", "1"]), "code": (folder, ["-c", PARENT]),
    }[form]
    official, ours = run_both(*words, home=tmp_path, cwd=cwd)
    assert official == ours
    assert "BreastMNIST" in ours


def test_options_of_the_interpreter_stay(tmp_path):
    path = script(tmp_path, "import sys, medmnist.utils\nprint(sys.flags.optimize, sys.flags.utf8_mode, sys.argv[1:])")
    for options in (["-OO", "-X", "utf8=1", "-m"], ["-X", "utf8=1", "-OOm"]):
        done = run_python(*options, "mmtk.compat.medmnist", path, "-m", "mmtk.compat.medmnist", code=0)
        assert done.stdout.strip() == "2 1 ['-m', 'mmtk.compat.medmnist']"
    joined = run_python("-OO", "-Xutf8=1", "-mmmtk.compat.medmnist", path, code=0)
    assert joined.stdout.strip() == "2 1 []"
    refused = run_python("-E", "-m", "mmtk.compat.medmnist", path)
    assert refused.returncode in (0, 1)  # where mmtk itself is found by the environment, there is nothing to run
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("given", ["", ":", "lib", ":lib", "lib:"])
def test_the_path_that_is_given_stays(given, tmp_path):
    """An empty entry is the folder in which a process starts."""
    path = script(tmp_path / "inner", "import sys, importlib.util as u\n"
                  "print([bool(u.find_spec(name)) for name in ('beside', 'inside')])")
    script(tmp_path, "", "beside.py")
    script(tmp_path / "lib", "", "inside.py")
    env = {"PYTHONPATH": given and f"{given}:{environment()['PYTHONPATH']}"}
    command = [sys.executable, str(path)]
    plain, ours = (
        subprocess.run(words, cwd=tmp_path, env={**environment(), **env}, capture_output=True, text=True, check=True)
        for words in (command, [command[0], "-m", "mmtk.compat.medmnist", command[1]])
    )
    assert plain.stdout == ours.stdout


def test_how_it_is_used_is_said():
    for words, code in (([], 2), (["--help"], 0)):
        assert run_python("-m", "mmtk.compat.medmnist", *words, code=code).stdout.startswith("usage: python -m mmtk")


def test_a_medmnist_beside_the_program_does_not_come_first(tmp_path):
    path = script(tmp_path, "import other\nimport medmnist\nprint(medmnist.BreastMNIST.__module__, other.here)")
    script(tmp_path, "here = 1", "other.py")
    script(tmp_path / "medmnist", "raise SystemExit('theirs')", "__init__.py")
    for words in ([path], ["-m", "program"]):
        done = run_on_ours(*words, home=tmp_path, cwd=tmp_path)
        assert done.stdout.split() == ["mmtk.compat.medmnist.dataset", "1"]


def test_an_mmtk_of_the_current_folder_is_found_from_other_folders(tmp_path):
    env = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    path = script(tmp_path, "import medmnist, mmtk, os\nos.chdir('/')\nimport subprocess, sys\n"
                  "subprocess.run([sys.executable, '-c', 'import medmnist.utils, mmtk; print(mmtk.__file__)'])")
    command = [sys.executable, "-m", "mmtk.compat.medmnist", str(path)]
    done = subprocess.run(command, cwd=STAND_IN.parents[2], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(STAND_IN.parents[1] / "__init__.py")


INSTALL = """
import subprocess, sys
import mmtk.compat.medmnist
mmtk.compat.medmnist.install()
mmtk.compat.medmnist.install()
import medmnist
from medmnist.utils import montage2d
print(medmnist is mmtk.compat.medmnist, medmnist.utils.montage2d is montage2d)
told = "import medmnist; print(medmnist.INFO['breastmnist']['task'], medmnist.__file__)"
print(subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, cwd="/").stdout)
"""


def test_a_notebook_installs_it():
    done = run_python("-c", INSTALL, code=0).stdout.split()
    assert done[:3] == ["True", "True", "binary-class"]
    assert done[3] == medmnist.__file__


def test_its_classes_are_found_by_processes_that_know_nothing_of_medmnist(tmp_path):
    write_npz(tmp_path)
    text = pickle.dumps(medmnist.BreastMNIST("val", root=tmp_path))
    assert b"mmtk.compat.medmnist.dataset" in text


def test_the_stand_in_is_packed_and_found_by_nobody_else():
    from setuptools import find_namespace_packages

    assert "mmtk.compat._medmnist.medmnist" in find_namespace_packages(str(STAND_IN.parents[2]), include=["mmtk*"])
    assert sorted(path.name for path in (STAND_IN / "medmnist").glob("*.py")) == [
        "__init__.py", "__main__.py", "dataset.py", "evaluator.py", "info.py", "utils.py"
    ]
    found = run_python("-c", "import importlib.util as u; print(u.find_spec('medmnist'))", code=0).stdout
    assert str(STAND_IN) not in found
    assert str(STAND_IN) == _running._STAND_IN


# -------------------------------------------------------------------------- commands


@pytest.mark.parametrize(
    "words",
    [["available"], ["info", "breastmnist"], ["info", "--flag=chestmnist"], ["info", "--flag", "vesselmnist3d"],
     ["save", "breastmnist", "out", "--postfix=jpg"], ["save", "--flag=breastmnist", "--folder=out", "--size", "28"],
     ["save", "organmnist3d", "out", "gif"], ["info", "-f", "breastmnist"], ["info", "-flag=breastmnist"],
     ["save", "breastmnist", "-folder", "'o ut'", "-s", "28", "--nodownload"]],
)
def test_its_commands_print_and_write_what_medmnists_do(words, tmp_path):
    pytest.importorskip("fire")
    counted(tmp_path / ".medmnist")
    write_npz(tmp_path / ".medmnist", "organmnist3d", (971, 161, 610), shape=(3, 4, 4), classes=11)
    written = []
    official, ours = "", ""
    for ours in run_each(words, tmp_path, written):
        official = official or ours
    assert official == ours
    assert written[0] == written[1]
    assert bool(written[0]) == (words[0] == "save")


def run_each(words, home, written):
    for number, way in enumerate(([], ["-m", "mmtk.compat.medmnist"])):
        folder = home / str(number)
        folder.mkdir()
        env = {"HOME": home, "XDG_CACHE_HOME": home / "cache"}
        yield run_python("-W", "ignore", *way, "-m", "medmnist", *words, cwd=folder, env=env, code=0).stdout
        files = (path for path in folder.rglob("*") if path.is_file())
        written.append({path.relative_to(folder): path.read_bytes() for path in files})


def test_a_result_file_is_scored_by_its_command(tmp_path):
    pytest.importorskip("fire")
    counted(tmp_path / ".medmnist")
    text = "".join(f"{row},{row / 200},{1 - row / 200}\n" for row in range(155, -1, -1))
    for form in ("{}", "--path={}"):
        written = []
        said = []
        for number in range(2):
            path = tmp_path / f"{number}{len(form)}" / "breastmnist_test_x@old.csv"
            path.parent.mkdir()
            path.write_text(text)
            way = ["-m", "mmtk.compat.medmnist"] if number else []
            env = {"HOME": tmp_path}
            words = [*way, "-m", "medmnist", "evaluate", form.format(path)]
            said.append(run_python("-W", "ignore", *words, env=env).stdout)
            written.append({file.name: file.read_bytes() for file in path.parent.iterdir()})
        assert said[0].startswith("Metrics(AUC=")
        assert said[0] == said[1]
        assert written[0] == written[1]
        assert len(written[0]) == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["save", "-f=breastmnist", "out"], 2, "is ambiguous: expected --flag or --folder"),
     (["info", "breastmnist", "--bogus=3"], 2, "bogus"),
     (["nothing"], 2, "available, download, clean"), (["info"], 2, "flag"), (["info", "nosuch"], 1, "nosuch"),
     (["save", "breastmnist", "out"], 1, "Dataset not found"), (["download", "--size=5"], 1, "expected all, 28"),
     (["evaluate", "breastmnist_all.csv"], 1, "train or val or test")],
)
def test_its_commands_say_in_a_line_what_is_wrong(words, code, said, tmp_path):
    done = run_on_ours("-m", "medmnist", *words, home=tmp_path, code=code, cwd=tmp_path)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_clean_removes_the_files_of_datasets_alone(tmp_path):
    root = tmp_path / ".medmnist"
    counted(root)
    (root / "mine.npz").write_bytes(b"")
    run_on_ours("-m", "medmnist", "clean", home=tmp_path)
    assert [path.name for path in root.iterdir()] == ["mine.npz"]
    assert run_on_ours("-m", "medmnist", home=tmp_path).stdout.startswith("usage: python -m medmnist COMMAND")
    told = run_on_ours("-m", "medmnist", "info", "--help", home=tmp_path).stdout
    assert told.startswith("usage: python -m medmnist info FLAG\n")
