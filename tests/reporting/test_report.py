"""The report as a whole: complete, escaped, self-contained, the same bytes each time, honest about what is missing."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from robench.errors import RunError
from robench.reporting import build_report
from tests.reporting.synthetic import ATTACKS, EPS, Synthetic

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data


def read(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    page.text = " ".join(page.text.split())
    return page


def test_every_format_is_written(report: Path) -> None:
    out = report.parent
    figures = {path.stem for path in (out / "figures").glob("*.svg")}
    assert figures == {path.stem for path in (out / "figures").glob("*.png")}
    assert {"comparison-01-accuracy", "comparison-01-single-attacks", "model-01-hkr-accuracy", "model-01-hkr-passes",
            "model-01-hkr-radius-distance", "model-01-hkr-gallery"} <= figures  # fmt: skip
    tables = {path.stem for path in (out / "tables").glob("*.tex")}
    assert {path.stem for path in (out / "tables").glob("*.csv")} == tables | {"rates", "comparison", "budgets"}
    page, markdown = read(report), (out / "report.md").read_text(encoding="utf-8")
    identifiers = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {f"table-{name}" for name in tables} | {f"figure-{name}" for name in figures} <= identifiers
    assert all(f"figures/{name}.png" in markdown for name in figures)


def test_the_page_needs_nothing_from_outside(report: Path) -> None:
    page = read(report)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    scripts = re.findall(r"<script>(.*?)</script>", report.read_text(encoding="utf-8"), re.S)
    digests = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts]
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {' '.join(digests)}"
    assert sum(tag == "script" for tag, _ in page.tags) == len(scripts) + 1
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "form", "base")
        assert tag != "script" or set(attributes) <= {"type", "id"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not re.search(r"@import|url\((?!data:)", report.read_text(encoding="utf-8"))


def test_names_of_users_are_text_and_nothing_else(report: Path) -> None:
    page = read(report)
    assert "A <script>alert(1)</script> & title" in page.text
    assert "plain <b>&_$x^2$|" in page.text
    assert not any(tag == "b" for tag, _ in page.tags)
    assert "<script>alert" not in report.read_text(encoding="utf-8")


def test_links_inside_the_page_have_targets(report: Path) -> None:
    page = read(report)
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    targets = {a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"].startswith("#")}
    assert targets <= set(identifiers)


def test_every_figure_has_words_for_who_cannot_see_it(report: Path) -> None:
    images = [attributes for tag, attributes in read(report).tags if tag == "img"]
    assert len(images) == 8  # the gallery is shown image by image
    assert all(len(attributes["alt"]) > 30 for attributes in images)
    assert all(len(re.findall(r"[.!?](?: |$)", attributes["alt"])) <= 2 for attributes in images)


def test_the_numbers_of_the_runs_are_on_the_page(report: Path) -> None:
    page = read(report)
    for text in ("0 contradictions", "Checked: 120 images over 2 attack runs",
                 "120 images were certified and 60 attacked",
                 "12345", "6789", "foolbox 3.3.4", "0123456789abcdef", Synthetic().weights,
                 *ATTACKS, *EPS):  # fmt: skip
        assert text in page.text
    assert re.search(r"broke \d+ of \d+", page.text)
    assert "base rate" in page.text


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        Synthetic().write_certify(tmp_path / place / "c", 30)
        Synthetic().write_attack(tmp_path / place / "a", 20, full=True, gallery=3)
    first = build_report([tmp_path / "one"], tmp_path / "x").parent
    second = build_report([tmp_path / "two" / "a", tmp_path / "two" / "c"], tmp_path / "y").parent
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert [path for path in files if (first / path).read_bytes() != (second / path).read_bytes()] == []


@pytest.mark.usefixtures("blank_figures")
def test_certify_alone(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "c", 30)
    page = read(build_report([tmp_path], tmp_path / "out"))
    assert "Nothing to cross-check" in page.text
    assert "hkr: not attacked" in page.text
    assert not (tmp_path / "out" / "tables" / "comparison-01-attacks.csv").exists()


@pytest.mark.usefixtures("blank_figures")
def test_attack_alone(tmp_path: Path) -> None:
    Synthetic(recipe=None, audit=False).write_attack(tmp_path / "a", 30)
    page = read(build_report([tmp_path], tmp_path / "out"))
    assert "no certificate, since the Lipschitz constant has no bound: the operation `roll`" in page.text
    assert "Nothing to cross-check" in page.text


@pytest.mark.usefixtures("blank_figures")
@pytest.mark.parametrize("n", [0, 1, 12])
@pytest.mark.parametrize("status", ["started", "interrupted", "error"])
def test_an_unfinished_run_is_shown_as_partial(tmp_path: Path, status: str, n: int) -> None:
    Synthetic().write_certify(tmp_path / "c", n, status=status)
    Synthetic().write_attack(tmp_path / "a", n, status=status)
    page = read(build_report([tmp_path], tmp_path / "out"))
    assert f"run c is partial (status: {status}); the {n} images that it finished are here" in page.text


@pytest.mark.usefixtures("blank_figures")
def test_a_contradiction_is_the_first_thing_on_the_page(tmp_path: Path) -> None:
    model = Synthetic()
    model.write_certify(tmp_path / "c", 30)
    folder = model.write_attack(tmp_path / "a", 30)
    records = (folder / "records.jsonl").read_text()
    (folder / "records.jsonl").write_text(re.sub(r'"certified_radius":[\d.e-]+', '"certified_radius":99.0', records))
    page = read(build_report([tmp_path], tmp_path / "out"))
    assert "contradictions: an adversarial lies nearer than a certified radius. Trust no number below." in page.text
    assert any("broken" in str(attributes.get("class")) for _, attributes in page.tags)
    assert (tmp_path / "out" / "tables" / "contradictions.csv").exists()


@pytest.mark.usefixtures("blank_figures")
def test_each_data_set_has_its_own_comparison(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "one", 20)
    Synthetic(name="moons", data="two-moons", shape=(2,), classes=2).write_attack(tmp_path / "two", 20, gallery=3)
    page = read(build_report([tmp_path], tmp_path / "out"))
    assert "Curves on mnist test" in page.text
    assert "Curves on two-moons test" in page.text


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    Synthetic().write_certify(tmp_path / "c", 5)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="file"):
        build_report([tmp_path / "c"], tmp_path / "file")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(RunError, match="closed"):
            build_report([tmp_path / "c"], tmp_path / "closed")


def test_the_reading_half_imports_neither_torch_nor_foolbox() -> None:
    modules = "robench.reporting, robench.reporting.tables"
    code = f"import {modules}, sys; sys.exit(any(m in sys.modules for m in ('torch', 'foolbox')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_browser_shows_it_without_complaint_or_request(report: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium on this machine")
    shown = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path}", "--enable-logging=stderr", f"--log-net-log={tmp_path / 'net.json'}",
            "--virtual-time-budget=3000", "--dump-dom", report.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert shown.returncode == 0
    page = Page(shown.stdout)
    source = read(report)
    tables = [[a["data-name"] for tag, a in of.tags if tag == "table" and "data-name" in a] for of in (page, source)]
    assert tables[0] == tables[1] != []
    assert sum(tag == "img" for tag, _ in page.tags) == sum(tag == "img" for tag, _ in source.tags) > 0
    assert "CONSOLE" not in shown.stderr
    log = (tmp_path / "net.json").read_text(errors="replace")
    requested = set(re.findall(r'"url":"((?:https?|ftp|wss?):[^"]+)"', log))
    assert not {url for url in requested if "google" not in url}  # the browser's own errands
