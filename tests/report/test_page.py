"""The page as a reader meets it, in headless Chromium: without it these tests skip."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_reader import Reader, browser_path, write_page

QUIET = ("no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    path = browser_path()
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path, args=[f"--{option}" for option in QUIET]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def reader(browser: Any, page_file: Path) -> Iterator[Reader]:
    opened = Reader(browser, page_file)
    yield opened
    opened.context.close()


def test_every_chart_is_drawn_with_a_point_per_result(reader) -> None:
    for chart in ("compression", "speedup", "cost", "change"):
        assert reader.marks(chart) == 6, chart
    # Two methods, and where there is one the Pareto front.
    assert [reader.marks(name, "line") for name in ("compression", "cost", "change")] == [3, 2, 2]


def test_the_page_says_nothing_in_the_console_and_asks_the_network_for_nothing(reader, page_file):
    assert reader.messages == []
    assert [url for url in reader.requests if not url.startswith("blob:")] == [page_file.as_uri()]


def test_a_method_that_is_unchecked_leaves_charts_and_tables(reader) -> None:
    page = reader.page
    page.get_by_role("checkbox", name="Random").uncheck()
    reader.has_points(3)
    assert [reader.marks(chart) for chart in ("speedup", "change")] == [3, 3]
    shown = page.locator("table.numbers tbody tr:visible th").all_inner_texts()
    assert shown == ["Global Magnitude"] * 3
    page.get_by_role("button", name="All", exact=True).click()
    reader.has_points(6)


def test_methods_are_found_by_a_part_of_their_name(reader) -> None:
    reader.page.locator(".find").fill("magn")
    reader.has_points(3)
    assert reader.page.locator("table.numbers tbody tr:visible").count() == 3


def test_a_heading_sorts_the_table_up_and_down(reader) -> None:
    page = reader.page
    button = page.locator("table.numbers thead").get_by_role("button", name="Top-1, %", exact=True)
    heads = [head.strip() for head in page.locator("table.numbers thead th").all_inner_texts()]
    column = f"table.numbers tbody td:nth-child({heads.index('Top-1, %') + 1})"
    button.focus()
    page.keyboard.press("Enter")
    up = page.locator(column).all_inner_texts()
    page.keyboard.press("Enter")
    assert up == sorted(up) and page.locator(column).all_inner_texts() == up[::-1]
    assert up[0] == "80.50 ± 0.71 (n=2)"


def test_a_point_leads_to_its_runs_and_their_config(reader) -> None:
    page = reader.page
    page.locator('[data-chart="compression"] .mark-symbol path').first.click()
    rows = page.locator("table.runs tbody tr")
    assert rows.count() == 2
    assert {text.split("\t")[0] for text in rows.all_inner_texts()} == {"Global Magnitude"}
    rows.first.get_by_role("button").click()
    link = page.locator("dialog a")
    assert link.get_attribute("href") == "../Global%20Magnitude%232-0/config.yaml"
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_arrow_keys_lead_from_point_to_point_and_enter_to_the_runs(reader) -> None:
    page = reader.page
    page.locator('[data-chart="compression"]').focus()
    told = []
    for key in ("ArrowLeft", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "Home"):
        page.keyboard.press(key)
        name = page.evaluate("document.activeElement.getAttribute('aria-label')")
        told.append(re.findall(r"Method: (.*?);.*compression: (.*)", name)[0])
        # What the mouse would show.
        assert told[-1][0] in page.locator("#vg-tooltip-element.visible").inner_text()
    first, second, last = (("Global Magnitude", "2x"), ("Global Magnitude", "4x"), ("Random", "8x"))
    assert told == [last, first, second, first, last, first]
    page.keyboard.press("Enter")
    assert page.locator(".runs-find").input_value() == '"Global Magnitude" 2x'
    assert page.evaluate("document.activeElement.className") == "runs-find"
    assert page.locator("#vg-tooltip-element.visible").count() == 0


def test_points_of_a_hidden_method_are_passed_over_by_the_arrow_keys(reader) -> None:
    page = reader.page
    page.get_by_role("checkbox", name="Global Magnitude").uncheck()
    reader.has_points(3)
    page.locator('[data-chart="compression"]').focus()
    page.keyboard.press("Home")
    assert "Random" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    # Learning curves have no points to stop at.
    assert page.locator('[data-chart="loss"]').get_attribute("tabindex") is None


def test_runs_are_filtered_by_words(reader) -> None:
    find = reader.page.locator(".runs-find")
    find.fill("random 8x seed 1")
    assert reader.page.locator("output").inner_text() == "1 of 12 results"
    find.fill("no such run")
    assert reader.page.locator("output").inner_text() == "0 of 12 results"


def test_learning_curves_are_those_of_the_compression_that_is_chosen(reader) -> None:
    def paths() -> list[str]:
        lines = reader.page.locator('[data-chart="loss"] .mark-line path[d]')
        return [str(line.get_attribute("d")) for line in lines.all()]

    assert reader.marks("learning", "line") == 2
    at_8x = paths()
    reader.page.locator('figure:has([data-chart="loss"]) select').select_option("2")
    for _ in range(100):
        if paths() != at_8x:
            break
        reader.page.wait_for_timeout(50)
    assert len(at_8x) == len(paths()) == 2 and paths() != at_8x


def test_every_control_can_be_reached_by_keyboard(reader) -> None:
    page = reader.page
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName"))
    assert {"A", "INPUT", "BUTTON", "SELECT", "DIV", "SUMMARY"} <= reached


@pytest.mark.parametrize("scheme, paper", [("light", 255), ("dark", 22)])
def test_text_stands_out_from_its_ground_in_both_themes(scheme, paper, browser, page_file) -> None:
    reader = Reader(browser, page_file, scheme=scheme)
    style = "getComputedStyle(document.body).backgroundColor"
    ground = [int(part) for part in re.findall(r"\d+", reader.page.evaluate(style))]
    # What fill=currentColor comes to, in a label of a chart's axis.
    fill = "getComputedStyle(document.querySelector('.chart .role-axis-label text')).fill"
    ink = [int(part) for part in re.findall(r"\d+", reader.page.evaluate(fill))]
    assert ground[0] == paper
    assert _contrast(ink[:3], ground[:3]) >= 4.5
    reader.context.close()


def _contrast(one: list[int], other: list[int]) -> float:
    """WCAG 2.2: (lighter + 0.05) / (darker + 0.05) of relative luminances."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: list[int]) -> float:
    parts = [part / 255 for part in colour]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_a_phone_scrolls_tables_but_not_the_page(browser, page_file) -> None:
    reader = Reader(browser, page_file, width=390)
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= 390
    charts = reader.page.locator(".chart svg")
    assert all(box["width"] <= 390 for box in map(lambda c: c.bounding_box(), charts.all()))
    reader.context.close()


def test_screenshots_of_both_themes_are_kept_where_they_are_asked_for(browser, page_file, tmp_path):
    folder = Path(os.environ.get("HARNESS_SCREENSHOTS", tmp_path))
    for scheme in ("light", "dark"):
        reader = Reader(browser, page_file, scheme=scheme)
        file = folder / f"report-{scheme}.png"
        reader.page.screenshot(path=file, full_page=True)
        assert file.stat().st_size > 20_000
        reader.context.close()


def test_a_table_that_is_wider_than_the_page_says_so_until_its_end(browser, page_file) -> None:
    reader = Reader(browser, page_file, width=700)
    wide = reader.page.locator(".scroll:has(table.numbers)")
    note = wide.locator("xpath=preceding-sibling::p[1]")
    narrow = reader.page.locator('.scroll:has(caption:text("Training cost"))')
    assert note.is_visible() and "scroll sideways" in note.inner_text()
    assert "goes-on-right" in str(wide.get_attribute("class"))
    wide.evaluate("scroll => scroll.scrollTo(scroll.scrollWidth, 0)")
    note.wait_for(state="hidden")
    assert wide.get_attribute("class") == "scroll"
    assert not narrow.locator("xpath=preceding-sibling::p[1]").is_visible()
    reader.context.close()


def test_captions_say_how_many_seeds_and_the_best_means_are_bold(reader) -> None:
    captions = reader.page.locator("figure:not(:has(select)) figcaption").all_inner_texts()
    assert len(captions) == 4
    assert all(text.endswith(": mean ± std over seeds, n\xa0=\xa02") for text in captions)
    bold = "getComputedStyle(cell).fontWeight >= 700"
    table = reader.page.locator("table:has(caption:text('Top-1 in %')) tbody tr")
    weights = [
        row.locator("td").evaluate_all(f"cells => cells.map(cell => {bold})") for row in table.all()
    ]
    assert weights == [[True, True, True], [False, False, False]]
