"""The page as somebody uses it: sort, hide, read values, the address, keys, themes, phones, paper; and no network."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from robench.reporting import build_report
from tests.reporting.synthetic import Synthetic

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = os.environ.get("ROBENCH_TEST_AXE")
"""Path of `axe.min.js`, of the npm package axe-core."""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]


@pytest.fixture(scope="module")
def page_of_ten(tmp_path_factory):
    """Ten models."""
    root = tmp_path_factory.mktemp("ten")
    for place in range(10):
        model = Synthetic(
            name=f"model-{place}", seed=place, margin=1 + place / 10, looseness=6.0 if place == 3 else 1.3
        )
        model.write_certify(root / f"certify-{place}", 300)
        model.write_attack(root / f"attack-{place}", 150, full=place % 2 == 0, gallery=4)
    return build_report([root], root / "report")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def ours(url):
    return url.startswith(("file:", "data:"))


@pytest.fixture
def visit(browser, page_of_ten):
    """Open the page, at a fragment; what it asks of the network and what it complains of must stay empty."""
    contexts, bad = [], []

    def opened(fragment="", **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.on(
            "request", lambda request: None if request.url.startswith(("file:", "data:")) else bad.append(request.url)
        )
        page.on("console", lambda message: bad.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: bad.append(str(error)))
        page.goto(page_of_ten.as_uri() + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not bad


def names(page):
    return page.locator("table.sortable").first.locator("tbody tr:visible th bdi").all_inner_texts()


def header(page, title):
    return page.locator("table.sortable").first.locator("th", has_text=title).locator("button.sort").first


def test_a_column_sorts_both_ways_and_the_address_keeps_it(visit):
    page = visit()
    ranked = names(page)
    assert len(ranked) == 10
    header(page, "mean").click()
    assert "sort=" in page.url
    order = names(page)
    header(page, "mean").click()
    assert names(page) == order[::-1] != order
    assert names(visit("#" + page.url.partition("#")[2])) == order[::-1]


def test_a_hidden_model_is_gone_everywhere(visit):
    page = visit()
    first = names(page)[0]
    page.locator("#controls label", has_text=first).locator("input").uncheck()
    assert first not in names(page)
    assert "hide=" in page.url
    assert first not in names(visit("#" + page.url.partition("#")[2]))
    page.locator("#controls button", has_text="all models").click()
    assert names(page)[0] == first
    assert "hide=" not in page.url


def test_a_chart_says_its_values(visit):
    page = visit()
    part = page.locator("details.part", has=page.locator("figure[data-chart]")).first
    part.evaluate("part => { part.open = true; }")
    chart = part.locator("figure[data-chart]").first
    over = chart.locator(".u-over").first
    over.wait_for()
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(100)
    before = chart.inner_text()
    page.mouse.move(box["x"] + box["width"] / 5, box["y"] + box["height"] / 2)
    page.wait_for_timeout(100)
    assert re.search(r"\d", before)
    assert chart.inner_text() != before  # values follow the pointer


def test_keys_reach_and_work_everything(visit):
    page = visit()
    before = names(page)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(
            "document.activeElement.matches('button.sort') && document.activeElement.innerText.includes('mean')"
        ):
            break
    else:
        raise AssertionError("no key reaches the header")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # from the largest to the smallest first, which is how they were ranked
    assert names(page) != before
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"  # where the focus is can be seen


def brightness(page):
    red, green, blue = map(
        int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
    )
    return (red + green + blue) / 3


def test_dark_as_the_system_or_as_asked(visit):
    assert brightness(visit(color_scheme="light")) > 200
    assert brightness(visit(color_scheme="dark")) < 60
    assert brightness(visit("#theme=dark", color_scheme="light")) < 60


def test_a_phone_scrolls_down_only_and_keeps_the_names(visit):
    page = visit(viewport={"width": 390, "height": 844})
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.querySelector('table.sortable tbody th')).position") == "sticky"


def test_ten_models_print_on_ten_pages_at_most(visit, tmp_path):
    page = visit()
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert 1 <= len(re.findall(rb"/Type\s*/Page[^s]", (tmp_path / "page.pdf").read_bytes())) <= 10


def test_it_can_be_read_without_its_script(visit):
    page = visit(java_script_enabled=False)
    assert page.locator("table.sortable tbody tr").count() >= 10
    assert page.locator("details.part").first.locator("summary").inner_text()
    assert page.locator("#controls").is_hidden()


@pytest.mark.skipif(AXE is None, reason="ROBENCH_TEST_AXE names no axe.min.js")
@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}])
def test_axe_finds_nothing_serious(visit, options):
    page = visit(bypass_csp=True, **options)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    page.add_script_tag(path=Path(AXE))
    found = page.evaluate("axe.run().then(result => result.violations)")
    serious = [
        (item["id"], item["nodes"][0]["html"][:200]) for item in found if item["impact"] in ("serious", "critical")
    ]
    assert not serious
