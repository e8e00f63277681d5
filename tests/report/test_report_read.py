"""Files that cannot be read or hold no result yet, and runs that lie in two folders."""

from pathlib import Path

import pytest
from survey_records import dense, make, notes, only, write_run

from harness.cli.report import main
from harness.report.read.load import load
from harness.report.significance.summary import cell
from harness.run_folder.records import to_line

BROKEN = {
    "damaged": (b"{broken\n", ", line 2 is not JSON"),
    "of a newer schema": (b'{"schema": 99}\n', ", line 2: schema=99 is newer than schema=1"),
    "of other fields": (b'{"schema": 1, "x": 1}\n', ", line 2: fields differ from Record"),
    "binary": (b"\xff\xfe\n", " is not UTF-8 text"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_run_that_cannot_be_read_is_left_out_and_hides_no_other(kind, tmp_path, capsys) -> None:
    line, said = BROKEN[kind]
    path = write_run(tmp_path / "bad", make(top1=0.1))
    # In the middle.
    path.write_bytes(path.read_bytes() + line + to_line(make(level=2)).encode())
    write_run(tmp_path / "good", make(top1=0.9))

    assert main([str(tmp_path)]) == 0
    survey = load(tmp_path)

    assert cell(only(survey)) == "90.00 (n=1)"
    assert notes(survey)[0].startswith(f"run left out: {path}{said}")
    assert f"Note: run left out: {path}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", BROKEN)
def test_if_no_run_can_be_read_it_is_wrong_input_that_names_the_first(kind, tmp_path, capsys):
    line, said = BROKEN[kind]
    for name in ("a", "b", "c"):
        path = write_run(tmp_path / name, make())
        path.write_bytes(path.read_bytes() + line)
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"harness: {tmp_path / 'a' / 'records.jsonl'}{said}")
    assert "(nor can the records of 2 more runs be read)" in error and error.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_a_file_that_may_not_be_read_is_left_out(tmp_path, monkeypatch) -> None:
    closed = write_run(tmp_path / "closed", make(top1=0.1))
    write_run(tmp_path / "good", make(top1=0.9))
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> object:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    survey = load(tmp_path)
    assert notes(survey) == [f"run left out: {closed}: Permission denied"]
    assert cell(only(survey)) == "90.00 (n=1)"


def test_one_run_in_two_folders_counts_once_at_every_level(tmp_path) -> None:
    levels = [make(level=n, requested_compression=2.0**n, compression=2.0**n) for n in (1, 2)]
    for copy in ("first", "second"):
        write_run(tmp_path / copy, *levels)
    survey = load(tmp_path)
    assert survey.summary["seeds"].tolist() == [1, 1]
    assert notes(survey) == [
        "2 left out, duplicates of the same setting, seed and compression: second"
    ]


def test_of_a_run_in_two_folders_the_whole_one_counts(tmp_path) -> None:
    write_run(tmp_path / "a-cut", make(stage="pruned", top1=0.2))
    write_run(tmp_path / "b-whole", make(stage="pruned", top1=0.2), make(top1=0.9))
    assert cell(only(load(tmp_path))) == "90.00 (n=1)"


def test_a_cut_line_of_a_file_that_holds_nothing_else_is_no_record(tmp_path, capsys) -> None:
    write_run(tmp_path / "0", make()).write_text(to_line(make())[:50])
    assert main([str(tmp_path)]) == 2
    assert "found 1 without a whole line" in capsys.readouterr().err


def test_a_cut_line_that_was_the_only_result_is_told(tmp_path, capsys) -> None:
    path = write_run(tmp_path / "0", dense())
    path.write_text(path.read_text() + to_line(make())[:50])
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "has no result of a pruned model" in error
    assert "0/records.jsonl: line 2 is cut off" in error


def test_copies_of_records_inside_a_runs_folder_are_no_further_runs(tmp_path) -> None:
    path = write_run(tmp_path / "ab" / "run", make())
    copy = path.parent / "wandb" / "offline-run-1" / "artifacts"
    copy.mkdir(parents=True)
    (copy / "records.jsonl").write_bytes(path.read_bytes())
    survey = load(tmp_path)
    assert survey.results["folder"].tolist() == ["ab/run"]
    assert not [note for note in survey.notes if "duplicates" in note]


def test_a_cut_last_line_is_skipped_and_told(tmp_path) -> None:
    path = write_run(tmp_path / "0", make())
    with path.open("a") as file:
        file.write(to_line(make(level=2))[:40])
    survey = load(tmp_path)
    assert len(survey.records) == 1
    assert survey.notes[0].startswith("0/records.jsonl: line 2 is cut off")


def test_runs_that_have_not_pruned_yet_are_named(tmp_path) -> None:
    write_run(tmp_path / "done", make())
    write_run(tmp_path / "waiting", dense(model="resnet20"))
    survey = load(tmp_path)
    assert [section.model for section in survey.sections()] == ["lenet5"]
    assert survey.notes[0].startswith("1 of 2 runs have records of level 0 only")
    assert survey.notes[0].endswith(": waiting")


def test_the_dense_cache_is_not_read(tmp_path) -> None:
    write_run(tmp_path / ".cache/dense" / "0", make(label="Cached"))
    write_run(tmp_path / "sweep" / "a1" / "snip-0", make())
    assert load(tmp_path).labels() == ["SNIP"]


def test_one_run_alone_can_be_reported(tmp_path) -> None:
    write_run(tmp_path / "run", make())
    assert load(tmp_path / "run").labels() == ["SNIP"]


@pytest.mark.parametrize(
    "folder, problem",
    [
        ("missing", "is not a folder"),
        ("empty", "no records"),
        ("level0", "no result of a pruned model"),
    ],
)
def test_a_folder_without_results_is_one_line_and_writes_nothing(folder, problem, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "level0", dense())

    code = main([str(tmp_path / folder), "--out", str(tmp_path / "out")])

    error = capsys.readouterr().err
    assert code == 2
    assert error.count("\n") == 1 and problem in error and str(tmp_path / folder) in error
    assert not (tmp_path / "out").exists()


def test_a_broken_line_names_its_file(tmp_path, capsys) -> None:
    write_run(tmp_path / "0", make()).write_text("{broken\n")
    assert main([str(tmp_path)]) == 2
    assert f"{tmp_path / '0' / 'records.jsonl'}, line 1" in capsys.readouterr().err
