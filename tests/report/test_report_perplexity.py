"""Checks perplexity in records, the terminal, CSV, LaTeX and the page."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import cases
from survey_records import dense, make, write_run

from harness.report.figures.latex import write_latex
from harness.report.page import numbers
from harness.report.read.load import load
from harness.report.tables import print_tables, write_csv
from harness.run_folder.console import _record_line
from harness.task.base import perplexity
from harness.task.classification import Classification
from harness.task.language_modelling import LanguageModelling
from harness.tracking.rows import row


@cases("loss, expected", (0.0, 1.0), (math.log(27), 27.0), (1e4, None), (math.nan, None))
def test_perplexity_is_exp_of_nats_per_token_and_of_language_models_alone(loss, expected) -> None:
    assert perplexity(LanguageModelling(), loss) == (expected and pytest.approx(expected))
    assert perplexity(Classification(), loss) is None


def test_a_run_shows_it_beside_the_loss_and_a_tracker_gets_it() -> None:
    record = make(perplexity=12.346)
    assert _record_line(record, 1).endswith("loss 0.1000  perplexity 12.35")
    assert row(record)["finetuned/perplexity"] == 12.346
    assert "perplexity" not in _record_line(make(), 1)
    assert "finetuned/perplexity" not in row(make())


def survey(runs: Path) -> None:
    for label, values in {"A": (10.0, 12.0), "B": (20.0, 22.0)}.items():
        for seed, value in enumerate(values):
            given = {"label": label, "method": label, "setting": label, "seed": seed}
            start = dense(**given, perplexity=8.0)
            write_run(runs / f"{label}{seed}", start, make(**given, perplexity=value))


def test_every_form_of_a_report_has_it_for_a_language_model(tmp_path, capsys) -> None:
    survey(tmp_path)
    found = load(tmp_path)
    print_tables(found)
    said = capsys.readouterr().out
    assert "test perplexity, exp(loss), lower is better" in said and "11.00 ± 1.41 (n=2)" in said
    assert said.index("Dense: 8.00 ± 0.00 (n=2)") > said.index("test perplexity")
    (file, *_), (_, latex) = write_csv(found, tmp_path), write_latex(found, tmp_path)
    summary = pd.read_csv(file).set_index(["label", "level"])
    assert summary["perplexity_mean"].to_dict()["A", 1] == 11.0
    page = "".join(numbers.tables(next(found.sections()), None))
    assert "<h3>Perplexity by requested compression</h3><p>Dense: 8.00 ± 0.00 (n=2)</p>" in page
    assert page.count("21.00 ± 1.41 (n=2)") == 1
    perplexities = page[page.index("<h3>Perplexity") :]
    assert re.findall(r'<td class="best">(.*?)</td>', perplexities) == ["11.00 ± 1.41 (n=2)"]
    lines = (latex.parent / "perplexity-lenet5-digits.tex").read_text().splitlines()
    assert r"A & \textbf{11.00 $\pm$ 1.41} \\" in lines and r"B & 21.00 $\pm$ 1.41 \\" in lines
    assert "Test perplexity" in lines[3] and "Dense: 8.00" in lines[3]


def test_other_tasks_have_no_column_and_no_table(tmp_path) -> None:
    write_run(tmp_path / "0", dense(), make())
    loaded = load(tmp_path)
    (section,) = loaded.sections()
    assert not section.has_perplexity and "perplexity_mean" not in loaded.summary
