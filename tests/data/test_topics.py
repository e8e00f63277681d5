import hashlib
import platform
from collections.abc import Callable

import pytest
import torch
from conftest import cases

from harness.data.base import Split, Splits
from harness.data.calibration import Samples
from harness.data.topics import CLASSES, OTHER, VOCABULARY, Topics, encoded, read_topics, windows
from harness.launch.compose import compose_config
from harness.launch.execute import build

LETTERS = "abcdefghijklmnop"  # ids 65 to 80


def text(ids: torch.Tensor) -> list[str]:
    return ["".join(VOCABULARY[int(number)] for number in row) for row in ids]


def reading(content: str) -> Callable[[], str]:
    return lambda: content


def parts(splits: Splits) -> list[Split]:
    return [splits.train, splits.validation, splits.test]


def test_stretches_of_the_text_are_cut_into_windows_and_labelled_one_place_later() -> None:
    # 16 characters: abcdefgh, ijkl and mnop. Of the first, two windows of 3, and h is left out.
    data = Topics(context=3, train=0.5, validation=0.25, test=0.25, read=reading(LETTERS))

    splits = data.load()

    assert [text(split.inputs) for split in parts(splits)] == [["abc", "def"], ["ijk"], ["mno"]]
    assert [text(split.labels) for split in parts(splits)] == [["bcd", "efg"], ["jkl"], ["nop"]]
    assert splits.train.inputs.tolist() == [[65.0, 66.0, 67.0], [68.0, 69.0, 70.0]]
    assert (splits.shape, splits.classes) == ((3,), 97)


def test_a_stretch_that_is_a_windows_length_longer_has_one_more() -> None:
    assert len(windows(torch.arange(9), context=4)) == 2
    assert len(windows(torch.arange(8), context=4)) == 1


def test_no_character_is_in_two_splits_neither_as_input_nor_as_label() -> None:
    for context in (1, 4, 7):
        data = Topics(context=context, train=0.6, validation=0.2, test=0.2)
        splits = Topics(**{**vars(data), "read": reading(VOCABULARY)}).load()

        seen = [{*s.inputs.long().flatten().tolist(), *s.labels.flatten().tolist()}
                for s in parts(splits)]  # fmt: skip
        assert not seen[0] & seen[1] and not seen[1] & seen[2] and not seen[0] & seen[2]


def test_a_share_that_is_left_over_is_not_used() -> None:
    data = Topics(context=1, train=0.25, validation=0.25, test=0.25, read=reading(LETTERS))
    assert text(data.load().test.labels) == ["j", "k", "l"]


def test_characters_outside_printable_ascii_and_newline_are_one_class() -> None:
    assert encoded(" !~\n\t\u201c\x7f\x00").tolist() == [0, 1, 94, 95, 96, 96, 96, 96]
    assert (OTHER, CLASSES) == (96, 97)
    assert encoded(VOCABULARY).tolist() == list(range(96))


@cases("dtype", torch.float64, torch.bfloat16)
def test_ids_survive_every_dtype_of_inputs(dtype) -> None:
    split = windows(torch.arange(CLASSES + 1), context=CLASSES)
    assert split.to("cpu", dtype).inputs.long().tolist() == [list(range(CLASSES))]


def test_a_paragraph_stays_where_it_appears_first_in_alphabetical_order(monkeypatch) -> None:
    topics = {"b": "two\n\none\n\nfour\n", "a": "\none\n\nthree"}
    monkeypatch.setattr("pydoc_data.topics.topics", topics)
    assert read_topics.__wrapped__() == "one\n\nthree\n\ntwo\n\nfour"


def test_the_test_text_is_not_in_the_training_text() -> None:
    data = Topics()
    whole = data.read()
    train = whole[: round(0.9 * len(whole))]
    test = whole[-round(0.05 * len(whole)) :]
    cut = [test[start : start + 64] for start in range(0, len(test) - 64, 64)]
    assert len(cut) > 200
    assert sum(window in train for window in cut) <= len(cut) // 100


def test_sizes_of_the_real_text_follow_from_its_length() -> None:
    splits = Topics().load()
    length = len(read_topics())
    assert len(splits.train) == (round(0.9 * length) - 1) // 64 > 4000
    assert splits.shape == (64,)
    for split in parts(splits):
        assert (split.inputs.dtype, split.labels.dtype) == (torch.float32, torch.int64)
        assert split.labels.shape == split.inputs.shape
        assert int(split.labels.min()) >= 0 and int(split.labels.max()) < CLASSES
        assert torch.equal(split.inputs[:, 1:].long(), split.labels[:, :-1])
        assert torch.equal(split.inputs[1:, 0].long(), split.labels[:-1, -1])


def test_every_load_gives_the_same_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    one, two = Topics().load(), Topics().load()
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(parts(one), parts(two), strict=True):
        assert torch.equal(a.inputs, b.inputs) and torch.equal(a.labels, b.labels)


def test_the_run_is_named_by_the_python_version_whose_text_it_reads() -> None:
    cfg = compose_config(["data=topics"])
    assert cfg.data.python == platform.python_version()
    assert build(cfg).data == Topics(python=platform.python_version())


def test_the_digest_is_that_of_the_text() -> None:
    # The example of FIPS 180-2.
    assert Topics(read=reading("abc")).digest.startswith("ba7816bf8f01cfea")
    assert Topics().digest == hashlib.sha256(read_topics().encode()).hexdigest()


@cases(
    "fields, says",
    ({"context": 0}, r"context must be a whole number in \[1, 4096\], got 0"),
    ({"context": 64.0}, "context must be a whole number .*, got 64.0"),
    (
        {"train": 5000},
        r"train must be a number in \(0, 1\), got 5000; it is a fraction of the text",
    ),
    ({"validation": 0}, r"validation must be a number in \(0, 1\), got 0"),
    ({"test": True}, r"test must be a number in \(0, 1\), got True"),
    ({"test": float("nan")}, r"test must be a number in \(0, 1\), got nan"),
    ({"test": "0.1"}, r"test must be a number in \(0, 1\), got '0.1'"),
    ({"test": 0.2}, r"train \+ validation \+ test must be at most 1, got 1.15"),
    ({"python": "3.2.0"}, r"python=3.2.0, but this is Python .*, or write data.python=3"),
)
def test_fields_that_make_no_sense_are_refused(fields, says) -> None:
    with pytest.raises(ValueError, match=says):
        Topics(**fields)


def test_shares_that_are_1_together_but_for_rounding_are_taken() -> None:
    assert 0.55 + 0.34 + 0.11 > 1
    data = Topics(context=1, train=0.55, validation=0.34, test=0.11, read=reading(LETTERS * 10))
    assert [len(split) for split in parts(data.load())] == [87, 53, 17]


def test_a_stretch_shorter_than_a_window_and_the_next_character_is_refused() -> None:
    def data(context: int) -> Topics:
        return Topics(context, train=0.5, validation=0.25, test=0.25, read=reading(LETTERS))

    assert len(data(3).load().test) == 1
    with pytest.raises(
        ValueError, match="validation=0.25 is 4 of 16 characters, .* context=4 needs 5"
    ):
        data(4).load()


def test_calibration_draws_windows_at_random_and_has_no_classes_to_balance() -> None:
    splits = Topics().load()
    chosen = Samples(samples=40, balanced=True).indices(splits.train, splits.classes, seed=0)
    assert len(set(chosen.tolist())) == 40
    assert torch.equal(chosen, Samples(40, balanced=False).indices(splits.train, CLASSES, seed=0))
    with pytest.raises(ValueError, match="per_class needs one class per sample"):
        Samples(samples=None, per_class=2).indices(splits.train, splits.classes, seed=0)
