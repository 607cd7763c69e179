"""The report in a browser: on a desk and on a phone, light and dark, on paper; nothing asked of any network."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest

from mmtk.report import write_report
from tests.commands import LIMIT
from tests.small_runs import write_small_run
from tests.small_stores import MULTILABEL, write_small_store

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("jinja2", reason="jinja2 is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor chromium-browser is installed")

SIZES = {"desk": (1280, 900), "phone": (390, 844)}
SCHEMES = {"dark": 0, "light": 1}
# put into a copy of the page that allows it, in a frame, for a window is no narrower than 500 pixels
MEASURE = """<script>addEventListener("load", () => {
  const of = (element, name) => getComputedStyle(element)[name];
  const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll > *") && !e.closest("svg")
    && !e.closest("[role=tooltip]") && e.getBoundingClientRect().right > innerWidth + 1);
  parent.document.documentElement.dataset.found = JSON.stringify({
    inner: innerWidth, scroll: document.documentElement.scrollWidth, wide: wide.map(e => e.outerHTML.slice(0, 80)),
    pictures: [...document.images].map(e => e.naturalWidth),
    paper: of(document.body, "backgroundColor"), ink: of(document.body, "color"),
    muted: of(document.querySelector(".note"), "color"),
    figure: [...new Set([...document.querySelectorAll("figure svg text")].map(e => of(e, "fill")))],
    smallest: Math.min(...[...document.querySelectorAll("figure svg text")].map(e => e.getBoundingClientRect().height)),
  });
})</script>"""


def browse(page: Path, folder: Path, *flags: str, scheme: str = "light") -> tuple[str, str]:
    """Open a page in a browser of its own; its output and its log."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        "--window-size=1280,900", *flags, page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    base = tmp_path_factory.mktemp("page")
    breast = write_small_store(base / "stores" / "breastmnist_8.h5", (40, 20, 30), synthetic=True)
    kind = {"flag": "chestmnist", "task": MULTILABEL, "classes": 14}
    chest = write_small_store(base / "stores" / "chestmnist_8.h5", (40, 20, 30), **kind)
    for path in (breast, chest):
        write_small_run(path, base / "runs" / path.stem / "a", skill=0.5)
        write_small_run(path, base / "runs" / path.stem / "b", method="sklearn", skill=0.5)
    write_report(base / "runs", base / "page.html", stores=base / "stores")
    return base / "page.html"


def luminance(colour: str) -> float:
    parts = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("size", "scheme"), [("desk", "dark"), ("phone", "light"), ("phone", "dark")])
def test_it_fits_and_reads(page, tmp_path, size, scheme):
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text()).replace("</head>", MEASURE + "</head>")
    framed = tmp_path / "framed.html"
    width, height = SIZES[size]
    framed.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<iframe width="{width}" height="{height}" style="border:0" srcdoc="{html.escape(text)}"></iframe>'
    )
    dom, _ = browse(framed, tmp_path, "--dump-dom", scheme=scheme)
    found = json.loads(html.unescape(re.search(r'data-found="([^"]*)"', dom)[1]))
    assert found["inner"] == width
    assert found["scroll"] <= found["inner"]
    assert not found["wide"]
    assert found["pictures"]
    assert min(found["pictures"]) > 0
    assert (luminance(found["paper"]) < 0.1) == (scheme == "dark")
    for colour in (found["ink"], found["muted"], *found["figure"]):
        assert contrast(colour, found["paper"]) >= 4.5
    assert found["smallest"] >= 7


def asked(log: Path) -> set[str]:
    """What pages asked for, by a log of Chromium's network: what it asks for itself has no page as its origin."""
    lines = (line.rstrip(",\n") for line in log.read_text().splitlines() if '"initiator"' in line)
    requests = [json.loads(line)["params"] for line in lines if line.startswith("{\"params\"")]
    return {one["url"] for one in requests if one.get("initiator", "not an origin") != "not an origin"}


def test_it_asks_for_nothing_and_complains_of_nothing(page, tmp_path):
    log, shot = tmp_path / "net.json", tmp_path / "shot.png"
    _, told = browse(page, tmp_path, f"--log-net-log={log}", f"--screenshot={shot}")
    assert "CONSOLE" not in told
    assert "events" in log.read_text()
    assert not asked(log)
    assert cv2.imread(str(shot)).shape == (900, 1280, 3)


def test_a_page_that_asks_or_complains_would_be_noticed(page, tmp_path):
    text = page.read_text().replace("</body>", '<img src="http://example.invalid/x.png"></body>')
    log, shot = tmp_path / "net.json", tmp_path / "shot.png"
    bad = tmp_path / "bad.html"
    bad.write_text(text)
    _, told = browse(bad, tmp_path, f"--log-net-log={log}", f"--screenshot={shot}")
    assert "CONSOLE" in told  # its own policy forbids it
    assert not asked(log)
    bad.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text))
    browse(bad, tmp_path, f"--log-net-log={log}", f"--screenshot={shot}")
    assert asked(log) == {"http://example.invalid/x.png"}


def test_it_prints(page, tmp_path):
    browse(page, tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer", scheme="dark")
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    boxes = {tuple(map(float, box.split())) for box in re.findall(rb"/MediaBox \[([^\]]+)\]", data)}
    assert {tuple(round(side) for side in box[2:]) for box in boxes} == {(842, 595)}  # A4, landscape
    assert 4 <= len(re.findall(rb"/Type /Page\b", data)) <= 20
