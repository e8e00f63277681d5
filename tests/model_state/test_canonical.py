"""Values in words that are equal in every process: long plain containers by their digest."""

from conftest import cases

from harness.model_state.canonical import canonical

WORDS = {f"word {number}": (number, 0.5) for number in range(1000)}


@cases(
    "change",
    lambda words: words.update(more=1),
    lambda words: words.update({"word 3": (3, 0.25)}),
    lambda words: words.update({"word 7": words.pop("word 7")}),
    ids=["longer", "one number", "another order"],
)
def test_a_long_container_is_told_in_short_and_each_change_of_it_is_seen(change) -> None:
    words = dict(WORDS)
    before = canonical(words)
    assert before is not None and len(before) < 100 and before == canonical(dict(WORDS))
    change(words)
    assert canonical(words) != before


def test_what_has_no_order_of_its_own_is_told_item_by_item() -> None:
    one, other = ({"b": {1, "x"}, "a": [set("qwertz")] * 70} for _ in range(2))
    assert canonical(one) == canonical(other)
    assert canonical([set("ab")] * 70) == canonical([set("ba")] * 70)
