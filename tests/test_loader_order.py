"""Orders: each row where it belongs, on however many processes, drawn as often as it should be."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk import store
from mmtk.errors import ArgumentError
from mmtk.loader import ArrayBatches, Batches, Data, permutation, windowed
from tests.small_stores import MULTILABEL, write_small_store

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "store.h5"
    return store.open(write_small_store(path, (53, 5, 1), classes=4)).train


def rows_of(batches):
    """Which rows of the split a loop gives, told by their pixels."""
    known = {image.tobytes(): row for row, image in enumerate(batches.data.parts[0].images)}
    return [known[image.tobytes()] for images, _ in batches for image in images]


# ---------------------------------------------------------------------------- window


@given(
    n=st.integers(1, 300), chunk=st.integers(1, 40), window=st.integers(1, 12), seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
)
def test_a_windowed_order_has_each_row_once_and_each_window_in_one_go(n, chunk, window, seed, epoch):
    order = windowed(n, seed, epoch, chunk, window)
    assert np.array_equal(np.sort(order), np.arange(n))
    chunks = order // chunk
    seen, start = set(), 0
    while start < n:
        here = set(chunks[start:].tolist()[:1])
        stop = start
        while stop < n and (chunks[stop] in here or len(here) < window):
            here.add(int(chunks[stop]))
            stop += 1
        assert not here & seen
        assert all(np.count_nonzero(chunks == one) == np.count_nonzero(chunks[start:stop] == one) for one in here)
        seen |= here
        start = stop


def test_a_windowed_order_is_fixed_for_all_machines_and_versions():
    digest = hashlib.sha256(windowed(100_000, 7, 3, 100, 16).astype("<i8").tobytes()).hexdigest()
    assert digest == "4c99955a9cdf25c1d12fe6fbe24164415bcf2a3ada4b67ef28ba43fbd170ea77"


def test_a_window_costs_the_variance_that_its_page_says():
    """In a store sorted by class, and in one whose chunks differ by half of the variance."""
    n, chunk, window, b = 40_000, 50, 20, 100
    rng = np.random.default_rng(0)
    between = np.repeat(rng.normal(size=n // chunk), chunk)
    for rho in (1.0, 0.5):
        values = np.sqrt(rho) * between + np.sqrt(1 - rho) * rng.normal(size=n)
        values = (values - values.mean()) / values.std()
        means = [values[windowed(n, 0, epoch, chunk, window)].reshape(-1, b).mean(axis=1) for epoch in range(40)]
        inflation = np.var(np.concatenate(means)) * b
        assert inflation == pytest.approx(1 + (b - 1) * rho / window, rel=0.15)


# ------------------------------------------------------------------------- processes


@given(
    world_size=st.integers(1, 60), batch_size=st.integers(1, 30), shuffle=st.booleans(), seed=st.integers(0, 3),
    even=st.sampled_from(["", "pad", "drop"]), window=st.integers(0, 3),
)
def test_processes_share_the_rows_without_loss_or_repetition(
    split, world_size, batch_size, shuffle, seed, even, window
):
    options = {"shuffle": shuffle, "seed": seed, "world_size": world_size, "window": window if shuffle else 0}
    options |= {"pad": even == "pad", "drop_last": even == "drop"}
    alone = rows_of(ArrayBatches(split, 53, **options | {"world_size": 1, "pad": False, "drop_last": False}))
    n = len(split)
    if (not even and world_size > n) or (even == "drop" and n // world_size < batch_size):
        with pytest.raises(ArgumentError):
            [ArrayBatches(split, batch_size, rank=rank, **options) for rank in range(world_size)]
        return
    loops = [ArrayBatches(split, batch_size, rank=rank, **options) for rank in range(world_size)]
    shares = [rows_of(loop) for loop in loops]
    assert [len(loop) for loop in loops] == [len(list(loop)) for loop in loops]
    flat = [row for share in shares for row in share]
    if even == "pad":
        assert {len(share) for share in shares} == {-(-n // world_size)}
        assert set(flat) == set(range(n))
    elif even == "drop":
        assert len({len(share) for share in shares}) == 1
        assert len(set(flat)) == len(flat) > n - world_size * batch_size
    else:
        assert sorted(flat) == list(range(n))
    # the batches of all together are the batch of one
    first = sorted(row for share in shares for row in share[:batch_size])
    wanted = (alone + alone)[: world_size * batch_size] if even == "pad" else alone[: world_size * batch_size]
    if even != "pad" or world_size * batch_size <= n:
        assert first == sorted(wanted)


def test_a_state_of_one_rank_fits_all(split):
    loops = [Batches(split, 5, shuffle=True, rank=rank, world_size=2, pad=True) for rank in range(2)]
    given = iter(loops[0])
    for _ in range(3):
        next(given)
    rest, state = [], loops[0].state_dict()
    for loop in loops:
        loop.load_state_dict(state)
        rest.append(rows_of_tensors(loop))
    order = permutation(53, 0, 0)
    expected = np.resize(order, 54)
    assert rest == [expected[rank::2][15:].tolist() for rank in range(2)]


def rows_of_tensors(loop):
    known = {image.tobytes(): row for row, image in enumerate(loop.data.parts[0].images)}
    return [known[image.numpy().tobytes()] for images, _ in loop for image in images]


@given(
    n=st.integers(1, 150), batch_size=st.integers(1, 60), world_size=st.integers(1, 7), threads=st.integers(0, 3),
    resident=st.booleans(), shuffle=st.booleans(), stop=st.integers(0, 40), keep=st.integers(1, 5),
    rank=st.integers(0, 6), seed=st.integers(0, 3),
)
def test_nothing_is_lost_repeated_or_overwritten_wherever_an_epoch_is_broken_off(
    n, batch_size, world_size, threads, resident, shuffle, stop, keep, rank, seed
):
    rank %= world_size
    if rank >= n:
        rank = 0
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    data = Data("made up", "key", images, np.arange(n), ())
    options = {"shuffle": shuffle, "seed": seed, "rank": rank, "world_size": world_size}
    order = (permutation(n, seed, 0) if shuffle else np.arange(n))[rank::world_size].tolist()

    def loop():
        return Batches(data, batch_size, threads=threads, resident=resident, **options)

    kept, rows, first = [], [], loop()
    for number, (pixels, labels) in enumerate(first):
        if number == stop:
            break
        rows += labels.tolist()
        kept.append((pixels, labels.tolist()) if number % keep == 0 else None)
        if kept[-1] is None and (shuffle or world_size > 1 or resident):
            pixels.fill_(255)
    state = first.state_dict()
    if stop < len(first):
        state = {**state, "position": stop}  # the batch that was given last was not used
    again = loop()
    again.load_state_dict(state)
    if stop < len(first):
        for pixels, labels in again:
            rows += labels.tolist()
            kept.append((pixels, labels.tolist()))
    assert rows == order
    for pixels, labels in filter(None, kept):
        assert pixels.shape[1:] == (1, 2, 3)
        assert (pixels.flatten(1) == torch.tensor(labels, dtype=torch.uint8)[:, None]).all()


# -------------------------------------------------------------------------- sampling


def test_balance_draws_every_class_as_often(tmp_path):
    path = write_small_store(tmp_path / "s.h5", (1000, 2, 2), classes=2)
    arrays = store.open(path)
    labels = (np.arange(1000) < 900).astype(np.uint8)[:, None]
    splits = {s.name: (s.images, s.labels, s.records) for s in arrays.splits}
    splits["train"] = (splits["train"][0], labels, splits["train"][2])
    split = store.open(store.write_store(tmp_path / "t.h5", arrays.info, splits)).train
    loop = Batches(split, 128, sampling="balanced", seed=1)
    drawn = [torch.cat([labels for _, labels in loop]) for _ in range(5)]
    assert {len(epoch) for epoch in drawn} == {1000}
    assert float(torch.cat(drawn).float().mean()) == pytest.approx(0.5, abs=0.03)
    again = Batches(split, 128, sampling="balanced", seed=1)
    assert torch.equal(torch.cat([labels for _, labels in again]), drawn[0])
    assert not torch.equal(drawn[0], drawn[1])


def test_weights_draw_in_their_ratio_and_never_what_weighs_nothing(split):
    weights = np.zeros(53)
    weights[[3, 50]] = 1, 3
    found = np.concatenate([rows_of(ArrayBatches(split, 53, sampling=weights, seed=seed)) for seed in range(40)])
    assert set(found.tolist()) == {3, 50}
    assert np.mean(found == 50) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        ("fair", "sampling: found 'fair', expected 'balanced' or a weight per image"),
        (np.ones(3), "sampling: there must be a weight per image; found shape (3,), expected shape (53,)"),
        (np.full(53, np.nan), "sampling: weights must be finite, not negative, and not all 0"),
        (np.zeros(53), "sampling: weights must be finite, not negative, and not all 0"),
        (-np.ones(53), "sampling: weights must be finite, not negative, and not all 0"),
    ],
)
def test_weights_that_cannot_be_are_refused(split, sampling, says):
    with pytest.raises(ArgumentError) as error:
        Batches(split, sampling=sampling)
    assert says in str(error.value)


def test_balance_without_a_class_or_with_several_labels_is_refused(tmp_path, split):
    few = store.open(write_small_store(tmp_path / "few.h5", (2, 2, 2), classes=3)).train
    with pytest.raises(ArgumentError, match=r"few\.h5 train: cannot be balanced: no image of class 2"):
        Batches(few, sampling="balanced")
    many = store.open(write_small_store(tmp_path / "many.h5", task=MULTILABEL, classes=3)).train
    with pytest.raises(ArgumentError, match="sampling: 'balanced' is not available with several labels"):
        Batches(many, sampling="balanced")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rank": 2, "world_size": 2}, "rank: found 2, expected below the world size 2"),
        ({"rank": -1}, "rank: found -1, expected an integer of at least 0"),
        ({"world_size": 0}, "world_size: found 0, expected an integer of at least 1"),
        ({"world_size": 54, "rank": 53}, "has too few images (53): none is left for rank 53"),
        ({"pad": True, "drop_last": True}, "pad: cannot be combined with drop_last"),
        ({"window": 3}, "window: has no effect without shuffling"),
        ({"window": -1, "shuffle": True}, "window: found -1, expected an integer of at least 0"),
        ({"sampling": "balanced", "shuffle": True}, "sampling: cannot be combined with shuffle"),
        ({"ordinal": True}, "found binary-class, expected ordinal-regression"),
    ],
)
def test_orders_that_cannot_be_are_refused(split, options, says):
    for kind in (Batches, ArrayBatches):
        with pytest.raises(ArgumentError) as error:
            kind(split, 8, **options)
        assert says in str(error.value)


# ---------------------------------------------------------------------- ways that agree


def test_threads_residence_and_numpy_give_the_same_batches(split):
    for options in ({"shuffle": True}, {}, {"sampling": "balanced"}, {"shuffle": True, "window": 2, "world_size": 3}):
        for dtype in ("uint8", "float32"):
            loops = [
                Batches(split, 7, dtype=dtype, **options), Batches(split, 7, dtype=dtype, threads=3, **options),
                Batches(split, 7, dtype=dtype, resident=True, **options),
            ]
            arrays = ArrayBatches(split, 7, dtype=dtype, threads=2, **options)
            for _ in range(2):
                for (images, labels), *others in zip(arrays, *loops, strict=True):
                    for pixels, targets in others:
                        assert np.array_equal(pixels.permute(0, 2, 3, 1).numpy(), images)
                        assert np.array_equal(targets.numpy(), labels)


def test_ordinal_targets_count_steps(tmp_path):
    path = write_small_store(tmp_path / "s.h5", task="ordinal-regression", classes=5)
    split = store.open(path).train
    _, targets = next(iter(Batches(split, 20, ordinal=True)))
    assert (targets.shape, targets.dtype) == ((20, 4), torch.float32)
    assert np.array_equal(targets.sum(1).numpy(), split.labels[:, 0])
    assert (targets.diff(dim=1) <= 0).all()


def test_numpy_batches_pass_through_dlpack_and_are_their_own(split):
    for dtype in ("uint8", "float32"):
        kept = [(images, images.copy()) for images, _ in ArrayBatches(split, 8, shuffle=True, dtype=dtype)]
        for images, copy in kept:
            assert np.array_equal(images, copy)
            tensor = torch.from_dlpack(images)
            assert tensor.data_ptr() == images.ctypes.data
        images, _ = next(iter(Batches(split, 8, shuffle=True, dtype=dtype)))
        assert np.from_dlpack(images).ctypes.data == images.data_ptr()
