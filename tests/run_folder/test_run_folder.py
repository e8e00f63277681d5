from conftest import cases
from survey_records import make

from harness.run_folder.own_files import RunFolder
from harness.run_folder.records import to_line

HELD = [make(level=0, stage="dense"), make(level=1, stage="pruned")]
LINES = [to_line(one) for one in HELD]
NEXT = to_line(make(level=1, stage="finetuned"))


@cases(
    "there, said",
    ("", "has 0 lines, and the run holds 2"),
    (LINES[0], "has 1 lines, and the run holds 2"),
    (LINES[0] + LINES[1][:-9], "is not what the run holds: line 2 differs"),
    (LINES[1] + LINES[0], "is not what the run holds: line 1 differs"),
    ("".join(LINES).replace('"seed": 0', '"seed": 1'), "line 1 differs"),
    ("".join(LINES), ""),
    ("".join([*LINES, NEXT]), "has 3 lines, and the run holds 2"),
)
@cases("further", False, True)
def test_records_are_what_the_run_holds_whatever_the_file_was(
    tmp_path, capsys, there, said, further
) -> None:
    (tmp_path / "records.jsonl").write_text(there)
    RunFolder(tmp_path, ("records.jsonl",), {}, "", ()).restore(HELD, further)

    assert (tmp_path / "records.jsonl").read_text() == "".join(LINES)
    # After a checkpoint others may have been recorded, which are measured again.
    quiet = not said or (further and there.endswith(NEXT))
    told = capsys.readouterr().err
    assert not told if quiet else said in told
