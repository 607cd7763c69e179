"""The C extension refuses every argument that could make it leave its buffers or overflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.imaging._resizer import coefficients
from tests.commands import run_python

native = pytest.importorskip("mmtk._native")

SRC = np.arange(200, dtype=np.uint8).reshape(10, 20)
X, Y = coefficients(20, 5, "bilinear"), coefficients(10, 4, "bilinear")


def arguments(path="plain", src=SRC, **changes):
    named = {"dst": np.zeros((4, 5), np.uint8), "xb": X[0], "xw": X[1], "yb": Y[0], "yw": Y[1]}
    return [path, src, (tuple((named | changes).values()),)]


def changed(table, at, value):
    copy = table.copy()
    copy[at] = value
    return copy


def read_only(array):
    array.flags.writeable = False
    return array


RGB = np.zeros((10, 20, 3), np.uint8)
HUGE = np.broadcast_to(np.uint8(0), (1 << 30, 1))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"src": SRC.astype(np.int8)}, "uint8"),
        ({"src": SRC.astype(np.uint16)}, "uint8"),
        ({"dst": np.zeros((4, 5), np.float32)}, "uint8"),
        ({"src": SRC[0]}, "uint8 arrays of shape"),
        ({"src": RGB}, "all grey or all RGB"),
        ({"dst": np.zeros((4, 5, 3), np.uint8)}, "all grey or all RGB"),
        ({"src": RGB, "dst": np.zeros((4, 5, 4), np.uint8)}, "uint8 arrays of shape"),
        ({"src": RGB[..., ::-1], "dst": np.zeros((4, 5, 3), np.uint8)}, "side by side"),
        ({"src": RGB[..., :2], "dst": np.zeros((4, 5, 2), np.uint8)}, "uint8 arrays of shape"),
        ({"src": SRC[None, None], "dst": np.zeros((1, 1, 4, 5), np.uint8)}, "uint8 arrays of shape"),
        ({"src": SRC[:, ::2]}, "side by side"),
        ({"src": SRC.T}, "side by side"),
        ({"src": SRC[:0]}, "empty"),
        ({"src": SRC[:, :0]}, "empty"),
        ({"dst": np.zeros((0, 5), np.uint8)}, "empty"),
        ({"src": HUGE, "dst": np.zeros((4, 1), np.uint8), "xb": None, "xw": None}, "too large"),
        ({"xb": None, "xw": None}, "skipped"),
        ({"yb": None, "yw": None}, "skipped"),
        ({"xb": X[0].astype(np.int64)}, "bounds: expected int32"),
        ({"xb": X[0].astype(">i4")}, "bounds: expected int32"),
        ({"xw": X[1].astype(np.float32)}, "weights: expected int32"),
        ({"xb": X[0][:-1]}, "a row for each output"),
        ({"xb": np.zeros((5, 3), np.int32)}, "a row for each output"),
        ({"yw": Y[1][:-1]}, "a row for each output"),
        ({"xb": X[0].ravel()}, "bounds: expected int32"),
        ({"xb": changed(X[0], (0, 0), -1)}, "rising ranges"),
        ({"xb": changed(X[0], (0, 0), 19)}, "rising ranges"),
        ({"xb": changed(X[0], (4, 0), 2**31 - 1)}, "rising ranges"),
        ({"xb": changed(X[0], (4, 0), 0)}, "rising ranges"),
        ({"xb": changed(X[0], (4, 1), 1)}, "rising ranges"),
        ({"xb": changed(X[0], (2, 1), 0)}, "rising ranges"),
        ({"xb": changed(X[0], (2, 1), -3)}, "rising ranges"),
        ({"xb": changed(X[0], (2, 1), X[1].shape[1] + 1)}, "rising ranges"),
        ({"yb": changed(Y[0], (3, 1), 9)}, "rising ranges"),
        ({"xw": changed(X[1], (1, 1), 2**31 - 1)}, "32 bits"),
        ({"xw": changed(X[1], (1, 1), -(2**31))}, "32 bits"),
        ({"yw": changed(Y[1], (1, 1), 9 << 22)}, "32 bits"),
        ({"yw": changed(Y[1] * 0, (1, 1), (127 << 16) + 1)}, "32 bits"),
    ],
)
def test_wrong_arguments_are_refused(changes, match):
    before = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match=match):
        native.resize(*arguments(**({"dst": before} | changes)))
    assert not before.any()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"src": None}, TypeError),
        ({"src": [[1, 2]]}, TypeError),
        ({"dst": read_only(np.zeros((4, 5), np.uint8))}, (BufferError, ValueError)),
        ({"dst": np.zeros((4, 10), np.uint8)[:, ::2]}, (BufferError, ValueError)),
        ({"dst": np.zeros((5, 4), np.uint8).T}, (BufferError, ValueError)),
        ({"xb": "text"}, TypeError),
        ({"xb": None}, TypeError),
        ({"xw": None}, TypeError),
        ({"xw": np.asfortranarray(X[1])}, (BufferError, ValueError)),
    ],
)
def test_what_gives_no_fitting_buffer_is_refused(changes, kind):
    with pytest.raises(kind):
        native.resize(*arguments(**changes))


def test_the_number_of_arguments_is_checked():
    with pytest.raises(TypeError, match="3 arguments, not 2"):
        native.resize(*arguments()[:2])
    path, src, (target,) = arguments()
    for targets in ((), [target], (target[:4],), (list(target),), (target,) * 65, None):
        with pytest.raises(TypeError, match=r"targets: expected|a tuple of 1 to 64"):
            native.resize(path, src, targets)
    bad = (target[0], target[1], None, None, None)
    with pytest.raises(TypeError):
        native.resize(path, src, (target, bad))
    assert not target[0].any()
    for path in ("fortran", None, "plain\0"):
        with pytest.raises(ValueError, match=r"expected one of mmtk\._native\.paths"):
            native.resize(*arguments(path=path))
    native.resize(*arguments())


def naive(line, bounds, weights):
    sums = [(w[:n].astype(np.int64) * line[a : a + n]).sum() for (a, n), w in zip(bounds, weights, strict=True)]
    return np.clip((np.array(sums) + (1 << 21)) >> 22, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("path", native.paths)
@settings(max_examples=300)
@given(st.data())
def test_random_tables_are_refused_or_computed_exactly(path, data):
    """Whatever the tables hold, the answer is an error or the exact sums."""
    width, size, wide = (data.draw(st.integers(1, n)) for n in (30, 12, 20))
    entry = st.one_of(st.integers(0, width), st.integers(-3, width + 3), st.integers(-(2**31), 2**31 - 1))
    if data.draw(st.booleans()):  # likely to be accepted
        starts = sorted(data.draw(st.lists(st.integers(0, width - 1), min_size=size, max_size=size)))
        bounds = [[a, min(width - a, wide)] for a in starts]
    else:
        bounds = data.draw(st.lists(st.tuples(entry, entry), min_size=size, max_size=size))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    scale = data.draw(st.sampled_from([1 << 16, 1 << 20, 1 << 23, 1 << 30]))
    weights = rng.integers(-scale, scale, (size, wide)).astype(np.int32)
    bounds = np.array(bounds, np.int32)
    src = rng.integers(0, 256, (2, width), dtype=np.uint8)
    across, down = np.zeros((2, size), np.uint8), np.zeros((size, 2), np.uint8)
    try:
        native.resize(path, src, ((across, bounds, weights, None, None),))
    except ValueError:
        with pytest.raises(ValueError, match=r"bounds|weights"):
            native.resize(path, src.T.copy(), ((down, None, None, bounds, weights),))
        return
    native.resize(path, src.T.copy(), ((down, None, None, bounds, weights),))
    for row in range(2):
        expected = naive(src[row], bounds, weights)
        np.testing.assert_array_equal(across[row], expected)
        np.testing.assert_array_equal(down[:, row], expected)


BOX = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
WEIGHTS = np.full((2, 4), 0.25)


def zoom_arguments(**changes):
    named = {"path": "plain", "src": BOX, "dst": np.zeros((3, 2, 2), np.int16)}
    for axis, out in (("x", 2), ("y", 2), ("z", 3)):
        named |= {axis + "f": np.zeros(out, np.int32), axis + "w": np.full((out, 4), 0.25)}
    return list((named | changes).values())


@pytest.mark.parametrize("path", native.paths)
def test_a_zoom_takes_four_taps_an_axis(path):
    dst = np.zeros((3, 2, 2), np.int16)
    # filtered without its gain, which 6 * (2 - sqrt(3)) is
    weights = {axis + "w": np.full((out, 4), 1.5 * (2 - 3**0.5)) for axis, out in (("x", 2), ("y", 2), ("z", 3))}
    constant = np.full_like(BOX, 77)
    first = {"xf": np.array([2, 0], np.int32), "yf": np.array([0, 1], np.int32)}
    for src in (constant, constant[::-1, ::-1], np.asfortranarray(constant), read_only(constant.copy())):
        dst[...] = 0
        assert native.zoom(*zoom_arguments(path=path, src=src, dst=dst, **first, **weights)) is False
        assert (dst == 77).all()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"path": "fortran"}, r"one of mmtk\._native\.paths"),
        ({"path": None}, r"one of mmtk\._native\.paths"),
        ({"src": BOX.astype(np.uint16)}, "int16 of three axes"),
        ({"src": BOX.astype(">i2")}, "int16 of three axes"),
        ({"src": BOX.astype(np.int32)}, "int16 of three axes"),
        ({"src": BOX[0]}, "int16 of three axes"),
        ({"src": BOX[None]}, "int16 of three axes"),
        ({"src": BOX[:0]}, "1 to 32768"),
        ({"src": np.broadcast_to(np.int16(0), (6, 5, 32769))}, "1 to 32768"),
        ({"src": np.frombuffer(bytes(241), np.int16, 120, 1).reshape(6, 5, 4)}, "int16 of three axes"),
        ({"src": np.zeros((6, 5, 4), [("a", "i2"), ("b", "i1")])["a"]}, "int16 of three axes"),
        ({"dst": np.zeros((3, 2, 2), np.float32)}, "int16 of three axes"),
        ({"dst": np.zeros((3, 2), np.int16)}, "int16 of three axes"),
        ({"dst": np.zeros((3, 2, 0), np.int16)}, "1 to 32768"),
        ({"dst": np.zeros((2, 2, 3), np.int16)}, "for each output"),
        ({"xf": np.zeros(2, np.int64)}, "first: expected an int32 for each"),
        ({"xf": np.zeros((2, 1), np.int32)}, "first: expected an int32 for each"),
        ({"yf": np.zeros(3, np.int32)}, "first: expected an int32 for each"),
        ({"xf": np.array([0, 3], np.int32)}, "four taps inside"),
        ({"xf": np.array([-1, 0], np.int32)}, "four taps inside"),
        ({"yf": np.array([0, 2], np.int32)}, "four taps inside"),
        ({"zf": np.array([0, 0, 2**31 - 1], np.int32)}, "four taps inside"),
        ({"src": BOX[:3], "xf": np.array([0, 1], np.int32)}, "four taps inside"),
        ({"xw": np.full((2, 4), 0.25, np.float32)}, "four float64 for each"),
        ({"xw": np.full((2, 3), 0.25)}, "four float64 for each"),
        ({"zw": np.full((2, 4), 0.25)}, "four float64 for each"),
        ({"xw": np.full(8, 0.25)}, "four float64 for each"),
        ({"yw": np.full((2, 4), 2.1)}, "from -2 to 2"),
        ({"zw": changed(np.full((3, 4), 0.25), (2, 3), -np.inf)}, "from -2 to 2"),
        ({"zw": changed(np.full((3, 4), 0.25), (2, 3), np.nan)}, "from -2 to 2"),
    ],
)
def test_wrong_arguments_of_a_zoom_are_refused(changes, match):
    dst = np.zeros((3, 2, 2), np.int16)
    with pytest.raises(ValueError, match=match):
        native.zoom(*zoom_arguments(**({"dst": dst} | changes)))
    assert not dst.any()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"src": None}, TypeError),
        ({"dst": "text"}, TypeError),
        ({"dst": read_only(np.zeros((3, 2, 2), np.int16))}, (BufferError, ValueError)),
        ({"dst": np.zeros((3, 2, 4), np.int16)[..., ::2]}, (BufferError, ValueError)),
        ({"xf": None}, TypeError),
        ({"zw": None}, TypeError),
        ({"xw": np.asfortranarray(WEIGHTS + np.arange(4) / 8)}, (BufferError, ValueError)),
    ],
)
def test_what_gives_no_fitting_buffer_for_a_zoom_is_refused(changes, kind):
    with pytest.raises(kind):
        native.zoom(*zoom_arguments(**changes))


def test_the_number_of_arguments_of_a_zoom_is_checked():
    with pytest.raises(TypeError, match="9 arguments, not 8"):
        native.zoom(*zoom_arguments()[:-1])


@pytest.mark.parametrize("path", native.paths)
@given(st.data())
def test_any_allowed_tables_stay_inside_and_in_range(path, data):
    """The largest voxels with the largest weights: integers that fit, and the same on every path."""
    shape, out = (data.draw(st.tuples(*[st.integers(1, n)] * 3)) for n in (40, 20))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    src = rng.choice(np.array([-(2**15), 2**15 - 1], np.int16), shape)
    tables = []
    for n, u in zip(shape, out, strict=True):
        tables += [rng.integers(0, max(n - 4, 0) + 1, u).astype(np.int32), rng.choice([-2.0, 2.0], (u, 4))]
    dst = np.zeros((out[2], *out[:2]), np.int16)
    same = dst.copy()
    assert native.zoom(path, src, dst, *tables) in (False, True)
    native.zoom("plain", np.asfortranarray(src), same, *tables)
    np.testing.assert_allclose(dst, same, atol=1)


# ---------------------------------------------------------------- memory that is shared or changes meanwhile


def shared_memory():
    """Each kernel with a place to write to that overlaps what it reads."""
    memory = np.zeros(4096, np.uint8)
    image, dst = memory[:200].reshape(10, 20), memory[100:120].reshape(4, 5)
    yield "resize", arguments(src=image, dst=dst)
    yield "resize", arguments(src=image[::-1, 3:18], dst=dst, xb=coefficients(15, 5, "bilinear")[0],
                              xw=coefficients(15, 5, "bilinear")[1])
    targets = [(memory[at : at + 20].reshape(4, 5), *X, *Y) for at in (1000, 1019)]
    yield "resize", ["plain", SRC, tuple(targets)]
    yield "unfilter_grey", (memory[:210], memory[200:400].reshape(10, 20), 1)
    yield "unfilter_grey", (memory[:210], memory[300:500].reshape(10, 20), 1, memory[209:409].reshape(10, 20))
    yield "unfilter_grey", (memory[:210], memory[300:500].reshape(10, 20), 1, memory[499:699].reshape(10, 20))
    yield "unpack_strips", (memory[:100], np.array([[0, 2], [50, 2]]), 1, memory[99:101])
    yield "gather", (memory[:40].reshape(10, 4), np.array([1, 2, 3, 4, 5, 0]), memory[:24].reshape(6, 4))
    rows = np.zeros(8, np.int64)
    yield "gather", (memory[:40].reshape(10, 4), rows[:2], rows.view(np.uint8)[8:16].reshape(2, 4))
    voxels = memory.view(np.int16)
    yield "zoom", zoom_arguments(src=voxels[:120].reshape(6, 5, 4)[::-1], dst=voxels[119:131].reshape(3, 2, 2))


@pytest.mark.parametrize(("kernel", "given"), list(shared_memory()))
def test_a_place_to_write_that_overlaps_what_is_read_is_refused(kernel, given):
    with pytest.raises(ValueError, match="a memory of its own"):
        getattr(native, kernel)(*given)


def test_neighbours_in_one_memory_are_no_overlap():
    memory = np.zeros(220, np.uint8)
    native.resize(*arguments(src=memory[:200].reshape(10, 20), dst=memory[200:].reshape(4, 5)))
    native.gather(memory[20:60].reshape(10, 4), np.array([9]), memory[60:64].reshape(1, 4))
    native.gather(memory[20:60].reshape(10, 4), np.array([0]), memory[16:20].reshape(1, 4))
    native.gather(memory[:40].reshape(10, 4), np.zeros(0, np.int64), memory[:0].reshape(0, 4))


RACE = """
import sys, threading, time

import numpy as np
from mmtk import _native as native
from mmtk.imaging._resizer import coefficients

def cases():
    images, out = np.zeros((4, 1 << 10), np.uint8), np.empty((1 << 16, 1 << 10), np.uint8)
    rows = np.zeros(len(out), np.int64)
    yield "gather", rows, 1 << 40, lambda: native.gather(images, rows, out)
    src, dst = np.zeros((1, 4000), np.uint8), np.empty((1, 4000), np.uint8)
    bounds, weights = coefficients(4000, 4000, "bilinear")
    src, dst = np.zeros((1000, 4000), np.uint8), np.empty((1000, 4000), np.uint8)
    for path in native.paths:
        table = bounds.copy()
        yield f"resize {path}", table, 1 << 29, lambda: native.resize(path, src, ((dst, table, weights, None, None),))
        first = np.zeros(200, np.int32)
        box, small = np.zeros((200, 40, 40), np.int16), np.empty((40, 200, 40), np.int16)
        quarter, zero = np.full((200, 4), 0.25), np.zeros(40, np.int32)
        yield f"zoom {path}", first, 1 << 26, lambda: native.zoom(
            path, box, small, first, quarter, zero, quarter[:40], zero, quarter[:40])
    data = bytes([127]) + bytes(128)
    spans = np.tile(np.array([0, len(data)]), (1 << 18, 1))
    strips = np.empty(128 * len(spans), np.uint8)
    yield "unpack_strips", spans[:, 0], 1 << 40, lambda: native.unpack_strips(data, spans, 128, strips)

sys.setswitchinterval(1e-5)
for name, table, wrong, work in cases():
    right, stop = table.copy(), []
    half = len(table) // 2

    def spoil():
        while not stop:
            table[half:] = wrong
            table[half:] = right[half:]

    thread = threading.Thread(target=spoil)
    thread.start()
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        try:
            work()
        except (IndexError, ValueError):
            pass
    stop.append(True)
    thread.join()
    print(name, flush=True)
"""


def test_tables_that_another_thread_changes_meanwhile_crash_nothing():
    done = run_python("-P", "-c", RACE)  # -P: not the extension in the current folder, where it is another
    survived = done.stdout.splitlines()
    twice = [f"{kernel} {path}" for path in native.paths for kernel in ("resize", "zoom")]
    wanted = ["gather", *twice, "unpack_strips"]
    assert (done.returncode, survived) == (0, wanted), done.stderr[-2000:]
