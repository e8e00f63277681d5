"""Tests what a tracker gets of a latency table."""

from survey_records import make

from harness.tracking.rows import row


def test_a_prediction_is_sent_where_a_table_was_given() -> None:
    sent = row(make(table_milliseconds=10.0, table_speedup=1.9))
    assert (sent["finetuned/table_speedup"], sent["finetuned/table_milliseconds"]) == (1.9, 10.0)
    assert not any("table" in name for name in row(make()))
