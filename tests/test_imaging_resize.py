"""Resizing and cropping, against the slow reference, in both kernels."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmtk.errors import ArgumentError
from mmtk.imaging import FILTERS, center_box, center_crop, kernels_in_use, read_image, resize, resize_each
from tests import pictures, reference
from tests.commands import run_python

SIDES = st.one_of(st.integers(1, 8), st.integers(1, 80), st.integers(1, 400), st.integers(1, 3000))
PILLOW = {"nearest": "NEAREST", "box": "BOX", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos": "LANCZOS"}
MOST = 1 << 20  # pixels of a drawn image: larger ones are named below


@st.composite
def cases(draw, most=1):
    height, width = draw(st.tuples(SIDES, SIDES).filter(lambda s: s[0] * s[1] <= MOST))
    # the image between the passes is as high as the source and as wide as the target
    one = st.tuples(SIDES, SIDES).filter(lambda s: max(s[0], height) * s[1] <= MOST)
    size = draw(one) if most == 1 else draw(st.lists(one, max_size=most))
    box = None
    if draw(st.booleans()):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        box = (top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))
    channels = draw(st.sampled_from([None, 3]))
    return (height, width), channels, size, draw(st.sampled_from(FILTERS)), box, draw(contents)


contents = st.tuples(st.sampled_from(["noise", "extremes", "white"]), st.integers(0, 1000))


def picture(shape, channels, content):
    return pictures.picture(shape if channels is None else (*shape, channels), *content)


NOISE, EXTREMES = ("noise", 0), ("extremes", 1)


@given(cases())
@example(((1, 1), None, (1, 1), "bilinear", None, NOISE))
@example(((1, 1), 3, (3000, 7), "lanczos", None, NOISE))
@example(((3000, 3000), None, (28, 28), "bilinear", None, NOISE))
@example(((3000, 2000), 3, (28, 224), "bilinear", (1, 2, 2997, 1993), NOISE))
@example(((2999, 3000), None, (3000, 2999), "bicubic", None, EXTREMES))
@example(((1, 3000), 3, (3000, 1), "lanczos", None, EXTREMES))
@example(((3000, 1), None, (1, 300), "box", None, EXTREMES))
@example(((3, 2), 3, (1200, 800), "lanczos", None, EXTREMES))
@example(((450, 600), 3, (450, 224), "bilinear", None, NOISE))
@example(((450, 600), 3, (64, 600), "bilinear", None, NOISE))
@example(((20, 30), 3, (20, 30), "lanczos", (0, 0, 20, 30), NOISE))
@example(((20, 30), 3, (5, 6), "lanczos", (3, 4, 5, 6), NOISE))
def test_all_kernels_equal_the_reference(kernel, case):
    shape, channels, size, filter, box, content = case
    image = picture(shape, channels, content)
    got = resize(image, size, filter, box)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert not np.shares_memory(got, image)
    np.testing.assert_array_equal(got, reference.resize(image, size, filter, box))


@pytest.mark.parametrize("channels", [None, 3])
def test_rows_may_end_anywhere_in_a_vector(kernel, channels):
    for width in range(1, 70):
        for image in (picture((9, width), channels, NOISE), picture((9, 40), channels, NOISE)):
            np.testing.assert_array_equal(resize(image, (5, width)), reference.resize(image, (5, width)))
            np.testing.assert_array_equal(resize(image, (19, width)), reference.resize(image, (19, width)))


def test_all_kernels_equal_the_reference_on_real_files(kernel, real_data):
    kinds = (".png", ".jpg", ".jpeg", ".tif")
    files = [path for path in sorted((real_data / "sources").rglob("*")) if path.suffix in kinds]
    files = [path for path in files if "_mask" not in path.name]
    assert len(files) > 100
    for path in files:
        image = read_image(path, colour=path.suffix in (".jpg", ".tif"))
        top, left, side = center_box(*image.shape[:2])
        box = (top, left, side, side)
        for got in resize_each(image, [(28, 28), (224, 224)], "bilinear", box):
            np.testing.assert_array_equal(got, reference.resize(image, got.shape[:2], "bilinear", box), path.name)


@given(cases(most=4))
@example(((1024, 1024), None, [(28, 28), (224, 224), (64, 64), (128, 128)], "bilinear", None, NOISE))
@example(((450, 600), 3, [(224, 600), (450, 28), (450, 600), (28, 28)], "bilinear", None, NOISE))
def test_several_sizes_in_one_call_are_those_of_one_each(kernel, case):
    shape, channels, sizes, filter, box, content = case
    image = picture(shape, channels, content)
    together = resize_each(image, sizes, filter, box)
    assert len(together) == len(sizes)
    for size, got in zip(sizes, together, strict=True):
        np.testing.assert_array_equal(got, reference.resize(image, size, filter, box))


def test_more_sizes_than_one_call_takes_are_refused(kernel):
    image = picture((20, 30), None, NOISE)
    assert len(resize_each(image, [(1, 1)] * 64)) == 64
    with pytest.raises(ArgumentError, match="sizes: found 65, expected at most 64"):
        resize_each(image, [(1, 1)] * 65)


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(FILTERS), st.sampled_from([None, 3]), contents)
def test_squares_are_pillows(side, size, filter, channels, content):
    """A check of the reference itself; on other shapes Pillow 13 may turn the passes round."""
    image = picture((side, side), channels, content)
    theirs = Image.fromarray(image).resize((size, size), Image.Resampling[PILLOW[filter]])
    np.testing.assert_array_equal(resize(image, (size, size), filter), np.asarray(theirs))


@pytest.mark.parametrize("channels", [None, 3])
def test_any_memory_layout_gives_the_same_pixels(kernel, channels):
    image = picture((60, 83), channels, NOISE)
    expected = reference.resize(image, (28, 28))
    frame = picture((90, 120), channels, EXTREMES)
    frame[11:71, 13:96] = image
    read_only = image.copy()
    read_only.flags.writeable = False
    upside_down, mirrored = image[::-1].copy()[::-1], image[:, ::-1].copy()[:, ::-1]
    for same in (frame[11:71, 13:96], np.asfortranarray(image), upside_down, mirrored, read_only):
        np.testing.assert_array_equal(resize(same, (28, 28)), expected)
    np.testing.assert_array_equal(resize(frame, (28, 28), box=(11, 13, 60, 83)), expected)


def test_pixels_outside_the_box_do_not_count(kernel):
    image = picture((50, 50), None, NOISE)
    other = np.full_like(image, 255)
    other[10:30, 5:45] = image[10:30, 5:45]
    for filter in FILTERS:
        np.testing.assert_array_equal(
            resize(image, (7, 90), filter, (10, 5, 20, 40)), resize(other, (7, 90), filter, (10, 5, 20, 40))
        )


def test_nearest_adds_up_as_pillow_does():
    """For 33 widths below 420 the plain formula would take another pixel at 28 px."""
    other = 0
    for n in range(1, 1200):
        line = np.arange(n) % 251
        image = np.stack([line, line // 7]).astype(np.uint8)
        got = resize(image, (2, 28), "nearest")
        theirs = Image.fromarray(image).resize((28, 2), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(got, np.asarray(theirs))
        np.testing.assert_array_equal(got, reference.nearest(image, (2, 28)))
        plain = [int((i + 0.5) * n / 28) for i in range(28)]
        other += n < 420 and plain != reference.nearest_taps(n, 28)
    assert other == 33


def test_threads_do_not_disturb_each_other(kernel):
    images = [picture((97, 64 + i), 3, ("noise", i)) for i in range(16)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda image: resize(image, (28, 28)), images))
    for image, small in zip(images, got, strict=True):
        np.testing.assert_array_equal(small, reference.resize(image, (28, 28)))


@pytest.mark.parametrize("filter", FILTERS[1:])
def test_weights_fit_32_bits_and_add_up_at_every_small_geometry(filter):
    from mmtk.imaging._resizer import coefficients

    for n in [*range(1, 24), 101, 1024, 32768]:
        for m in [*range(1, 24), 224]:
            bounds, weights = coefficients(n, m, filter)
            assert bounds.dtype == weights.dtype == np.int32
            assert np.abs(weights.astype(np.int64)).sum(1).max() * 255 + (1 << 21) < 1 << 31
            assert np.abs(weights).max() <= 127 << 16
            assert abs(weights.sum(1) - (1 << 22)).max() <= bounds[:, 1].max()


def golden_picture(height, width, channels):
    y, x, c = np.ogrid[:height, :width, : channels or 1]
    image = ((y * 7 + x * 13 + c * 29) ^ (y * x >> 3) ^ (x * x >> 5)).astype(np.uint8)
    return image if channels else image[:, :, 0]


GOLDEN = {
    "1024x1024x1 bilinear 28x28":
        "7bd13a791498786f494f95f14fa6ed9ef050edbb9db9d510259022d8dd85727d",
    "450x600x3 bilinear 28x28":
        "2fd10780c5db12c114205c3bc26d757c7247dbcb2b84e552e815f85a4477d26e",
    "471x562x1 bilinear 28x28":
        "5fa77dc1db4684d869a01d764e32205f2266651c56336529e4bc24a79d21c230",
    "224x224x3 bilinear 28x28":
        "1141990d0f46d8621196569de8460a669e0cbc71d730b9a29bbfc2772bb090e9",
    "1024x1024x1 bilinear 224x224":
        "3f1c5922b4d56ef0974d012fa307806399ada2abb42fefdc89def21bdf7ee0da",
    "450x600x3 box 64x64":
        "5a782281a6a8b26f4380272db042ca54c3f48c695bb4765fc2f7ded32c7baf1e",
    "28x28x1 bilinear 224x224":
        "c31353a46ebfde63036eab2a46efad3f28a7e0f6808cfa3405653c01198419fa",
    "300x200x3 bicubic 128x128":
        "a1882b6dfb79e3cca4ac350872fce9d0aaa2f95660c2976019bfb543234c8725",
    "300x200x1 lanczos 64x512":
        "08ce6831ae75d7e0946986c450c69294812672b15262042a164427d432f40ced",
    "17x19x3 lanczos 40x33":
        "2a70967b3e8fe1c18ad93d88a829a7ba6e6e1c527fb16b6d3a7de5dbc4fd39a2",
}


def digests():
    """SHA-256 of small results, by a name that says how they came about; run in subprocesses too."""
    result = {}
    for (height, width), channels, size, filter in [
        ((1024, 1024), None, (28, 28), "bilinear"), ((450, 600), 3, (28, 28), "bilinear"),
        ((471, 562), None, (28, 28), "bilinear"), ((224, 224), 3, (28, 28), "bilinear"),
        ((1024, 1024), None, (224, 224), "bilinear"), ((450, 600), 3, (64, 64), "box"),
        ((28, 28), None, (224, 224), "bilinear"), ((300, 200), 3, (128, 128), "bicubic"),
        ((300, 200), None, (64, 512), "lanczos"), ((17, 19), 3, (40, 33), "lanczos"),
    ]:
        image = golden_picture(height, width, channels)
        pixels = resize(center_crop(image) if size == (28, 28) else image, size, filter)
        name = f"{height}x{width}x{channels or 1} {filter} {size[0]}x{size[1]}"
        result[name] = hashlib.sha256(pixels.tobytes()).hexdigest()
    return result


def test_golden_digests(kernel):
    assert digests() == GOLDEN


def run(code, **environment):
    return run_python("-c", code, env=environment, code=0).stdout.strip()


def test_a_process_told_to_use_numba_gives_the_same_bits():
    code = "import json; from tests.test_imaging_resize import digests; from mmtk.imaging import kernels_in_use as k\n"
    code += "import sys; before = 'numba' in sys.modules; d = digests(); print(json.dumps([k(), before, d]))"
    assert json.loads(run(code, MMTK_KERNELS="numba")) == ["numba", False, GOLDEN]


def test_without_the_extension_numba_takes_over_and_native_is_refused():
    missing = "import sys; sys.modules['mmtk._native'] = None\nfrom mmtk.imaging import kernels_in_use\n"
    assert run(missing + "print(kernels_in_use())", MMTK_KERNELS="") == "numba"
    refusal = missing + "try: kernels_in_use()\nexcept Exception as e: print(type(e).__name__, e)"
    said = run(refusal, MMTK_KERNELS="native")
    assert said.startswith("ArgumentError MMTK_KERNELS=native: needs the C extension mmtk._native")
    assert "reinstall" in said


def test_an_unknown_kernel_is_refused(monkeypatch):
    monkeypatch.setenv("MMTK_KERNELS", "fortran")
    with pytest.raises(ArgumentError, match="fortran: unknown; expected one of native"):
        kernels_in_use()


def test_importing_the_room_pulls_in_nothing_heavy():
    heavy = ("cv2", "numba", "torch", "SimpleITK", "simplejpeg", "sklearn", "h5py")
    assert run(f"import mmtk.imaging, sys; print([m for m in {heavy!r} if m in sys.modules])") == "[]"


IMAGE = np.zeros((20, 30), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((IMAGE.astype(np.float32), (28, 28)), "image: found float32"),
        ((IMAGE.astype(np.int8), (28, 28)), "found int8"),
        ((IMAGE[0], (28, 28)), r"shape \(30,\)"),
        ((IMAGE[None, :, :, None], (28, 28)), r"shape \(1, 20, 30, 1\)"),
        ((np.zeros((9, 9, 4), np.uint8), (28, 28)), r"shape \(9, 9, 4\)"),
        ((IMAGE[:0], (28, 28)), "image: .*expected 1 to 32768"),
        ((np.broadcast_to(IMAGE[:1, :1], (5, 40_000)), (28, 28)), "image: .*expected 1 to 32768"),
        ((IMAGE, (0, 28)), "size: .*expected 1 to 32768"),
        ((IMAGE, (28, -1)), "size: .*expected 1 to 32768"),
        ((IMAGE, (28, 1 << 40)), "size: .*expected 1 to 32768"),
        ((IMAGE, 28), "size: .*expected two integers"),
        ((IMAGE, (28, 28.5)), "size: .*expected two integers"),
        ((IMAGE, (28, 28, 3)), "size: .*expected two integers"),
        ((IMAGE, (0, 28), "nearest"), "size: .*expected 1 to 32768"),
        ((IMAGE, (28, 28), "cubic"), "filter cubic: unknown; did you mean bicubic"),
        ((IMAGE, (28, 28), "box", (0, 0, 21, 30)), "box: .* inside an image 20 high and 30 wide"),
        ((IMAGE, (28, 28), "box", (-1, 0, 5, 5)), "box: .*expected"),
        ((IMAGE, (28, 28), "box", (3, 3, 0, 5)), "box: .*expected"),
        ((IMAGE, (28, 28), "box", (3, 3, 5)), "box: .*expected four integers"),
    ],
)
def test_bad_arguments_are_refused(kernel, arguments, match):
    with pytest.raises(ArgumentError, match=match):
        resize(*arguments)


@given(st.integers(1, 3000), st.integers(1, 3000))
@example(5, 2)
@example(7, 4)
def test_the_crop_is_the_references(height, width):
    image = np.broadcast_to(np.arange(height)[:, None] * 10_000 + np.arange(width), (height, width))
    cut = center_crop(image)
    np.testing.assert_array_equal(cut, reference.crop(image))
    top, left, side = center_box(height, width)
    assert cut[0, 0] == top * 10_000 + left
    assert cut.shape == (side, side)
    assert np.shares_memory(cut, image)


def test_halves_go_to_the_even_offset_and_colour_is_cropped_alike():
    assert center_box(5, 2) == (2, 0, 2)  # 1.5 -> 2
    assert center_box(4, 9) == (0, 2, 4)  # 2.5 -> 2
    colour = picture((9, 4), 3, NOISE)
    np.testing.assert_array_equal(center_crop(colour), colour[2:6])


@pytest.mark.parametrize("image", [np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8), np.zeros((1, 2, 3, 4), np.uint8)])
def test_what_is_no_image_is_not_cropped(image):
    with pytest.raises(ArgumentError, match="center_"):
        center_crop(image)


def test_numba_works_where_machine_code_cannot_be_kept():
    code = "import numba.core.caching as c\nfor k in vars(c).values():\n"
    code += "    if hasattr(k, '_locator_classes'): k._locator_classes = []\n"
    code += "from tests.test_imaging_resize import picture, resize, NOISE, reference as r\n"
    code += "image = picture((40, 50), 3, NOISE); print((resize(image, (28, 28)) == r.resize(image, (28, 28))).all())"
    assert run(code, MMTK_KERNELS="numba") == "True"
