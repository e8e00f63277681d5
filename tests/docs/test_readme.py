"""The README is short; what pages name is there."""

import re

import pytest
from conftest import CONF, ROOT, cases
from doc_pages import PAGES, name_of

README = ROOT / "README.md"
OUTSIDE = [page for page in PAGES if "docs" not in page.relative_to(ROOT).parts]
LINK = re.compile(r"\]\(([^)#]+)(?:#[\w-]+)?\)")
NAMED = re.compile(r"`((?:harness|scripts|tests|examples|slurm|docs)/[a-z_\d./]+)`")
# `NAME`, `NAME` and `NAME` in `harness/FILE.py`
PLACED = re.compile(r"((?:`[\w.]+`(?:, | and ))*`[\w.]+`) in `(harness/[\w/]+\.py)`")
TO_BE_WRITTEN = {"harness/saliency/squared.py"}


def test_the_readme_is_read_in_some_minutes() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150 and len(text.split()) <= 1500


@cases(
    "group, plural",
    ("saliency", "saliencies"),
    ("allocation", "allocations"),
    ("schedule", "schedules"),
)
def test_the_readme_counts_the_parts_of_a_group(group, plural) -> None:
    number = len(list((CONF / group).glob("*.yaml")))
    assert re.findall(rf"(\d+) {plural}", README.read_text()) == [str(number)]


@cases(
    "group, page",
    ("saliency", "what_is_pruned"),
    ("structure", "what_is_pruned"),
    ("allocation", "what_is_pruned"),
    ("schedule", "schedules_and_retraining"),
    ("finetune", "schedules_and_retraining"),
)
def test_a_guide_has_a_row_for_each_part_of_a_group(group, page) -> None:
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / f"docs/guides/{page}.md").read_text(), re.M)
    shown = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {file.stem for file in (CONF / group).glob("*.yaml")} - shown == set()


@pytest.mark.parametrize("page", OUTSIDE, ids=name_of)
def test_links_lead_to_a_file(page) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "renamed.md"], ids=name_of)
def test_files_that_a_page_names_are_there(page) -> None:
    named = set(NAMED.findall(page.read_text())) - TO_BE_WRITTEN
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_file_holds_the_names_that_a_page_places_there(page) -> None:
    for names, file in PLACED.findall(page.read_text()):
        words = set(re.findall(r"\w+", (ROOT / file).read_text()))
        assert {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", names)} <= words
