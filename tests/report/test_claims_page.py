import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
from claimed_runs import run

from harness.report.claims import report
from harness.report.read.load import load


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(tmp_path: Path) -> str:
    run(tmp_path / "runs", "FT <b>", [0.80, 0.80, 0.80])
    run(tmp_path / "runs", "LRR", [0.81, 0.812, 0.811], finetune="lr_rewind")
    run(tmp_path / "runs", "<i>Random", [0.7, 0.7], saliency="random", requested_compression=8.0)
    run(tmp_path / "runs", "FT <b>", [0.6, 0.6], requested_compression=8.0)
    return report(load(tmp_path / "runs"), tmp_path / "out")[-1].read_text(encoding="utf-8")


def test_the_page_is_whole_and_asks_for_nothing(tmp_path) -> None:
    text = page(tmp_path)
    found = Page(text)
    assert found.open == []
    assert "script" not in found.tags and "img" not in found.tags
    assert all(link.startswith("#") for link in found.links)
    assert {link[1:] for link in found.links} == set(found.ids)
    assert "http" not in re.sub("http-equiv", "", text)
    assert "$" not in text


def test_the_page_shows_verdict_effect_source_and_command(tmp_path) -> None:
    text = page(tmp_path)
    assert "✓ </span>supported" in text
    assert "+1.10 [+0.85, +1.35]" in text
    assert "Renda et al. 2020" in text
    assert "pruning-harness -m sweep=scratch" in text
    assert "1 supported, 1 contradicted" in text
    assert "--claims" in text


def test_labels_cannot_be_markup(tmp_path) -> None:
    text = page(tmp_path)
    assert "FT &lt;b&gt; against &lt;i&gt;Random -10.00" in text
    assert "<i>" not in text


def test_the_page_has_both_themes_and_a_phone_width(tmp_path) -> None:
    text = page(tmp_path)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text and "max-width: 40rem" in text


def test_claims_csv_has_the_same_rows(tmp_path) -> None:
    page(tmp_path)
    rows = pd.read_csv(tmp_path / "out" / "claims.csv").set_index("key")
    assert rows.loc["lr_rewinding_beats_fine_tuning", "verdict"] == "supported"
    assert rows.loc["random_is_worst", "effect_points"] == -10
