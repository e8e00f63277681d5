"""Whom the ranks give up, by what each says of itself, and which errors that explains."""

from harness.distributed.heartbeats import Heartbeat, HeartbeatTable, Timeouts
from harness.distributed.rendezvous import StoreAddress
from harness.distributed.watchdog import Watchdog
from harness.system.errors import RankLost

NAMES = ("rank 0", "rank 1", "rank 2")


def rolled(*rounds: tuple[Heartbeat, ...]) -> HeartbeatTable:
    roll = HeartbeatTable(NAMES[: len(rounds[0])], round_s=1)
    for number, signs in enumerate(rounds):
        for sign in signs:
            sign.beats = sign.beats or number + 1
        roll.update(signs)
    return roll


def test_ranks_that_are_equally_far_never_hang() -> None:
    roll = rolled(*[(Heartbeat(progress=7), Heartbeat(progress=7)) for _ in range(100)])
    assert roll.find_lost(Timeouts(5, 5, 5, 5)) is None


def test_the_rank_that_is_behind_hangs_and_not_those_that_wait() -> None:
    ahead = [
        (Heartbeat(progress=8), Heartbeat(progress=7), Heartbeat(progress=8)) for _ in range(6)
    ]

    assert rolled(*ahead[:5]).find_lost(Timeouts(behind=5)) is None
    said = rolled(*ahead).find_lost(Timeouts(behind=5))
    assert said == "rank 1 has made no progress for 5 s while other ranks wait for it"


def test_a_rank_that_is_behind_but_shows_life_does_not_hang() -> None:
    busy = [(Heartbeat(progress=8), Heartbeat(progress=7, ticks=tick)) for tick in range(100)]
    assert rolled(*busy).find_lost(Timeouts(behind=5)) is None


def test_the_reason_that_another_rank_found_comes_first_and_silence_after_an_error_last() -> None:
    left = Heartbeat(beats=1, left="ValueError: no")
    roll = rolled(*[(Heartbeat(), left) for _ in range(9)])
    assert roll.find_lost(Timeouts(silent=5, left=5)) == "rank 1 left with ValueError: no"
    assert roll.find_lost(Timeouts(silent=5)) is None

    lost = Heartbeat(beats=1, lost="rank 2 is gone")
    roll = rolled(*[(Heartbeat(), left, lost) for _ in range(9)])
    assert roll.find_lost(Timeouts(5, 5, 5, 5)) == "rank 2 is gone"


def test_only_an_error_of_the_group_is_explained_by_another_rank() -> None:
    watch = Watchdog(
        StoreAddress("127.0.0.1", 1, rank=0, world_size=2), list(NAMES[:2]), timeout_s=5
    )
    watch._roll.update([Heartbeat(), Heartbeat(left="ValueError: no")])
    own, closed = ValueError("own"), RuntimeError("[gloo/tcp/pair.cc] Connection closed by peer")

    assert watch.diagnose(own) is own
    explained = watch.diagnose(closed)
    assert isinstance(explained, RankLost)
    assert str(explained).startswith("rank 1 left with ValueError: no; the same command")
    assert watch.diagnose(explained) is explained
    watch._at_end.close()


def test_ranks_that_wait_for_each_other_in_different_places_are_told_with_both() -> None:
    two = (
        Heartbeat(progress=7, at="mean (a.py:3, statistics)", last="mean"),
        Heartbeat(progress=7, last="b"),
    )
    said = rolled(*[two for _ in range(6)]).find_lost(Timeouts(apart=5))
    assert said == (
        "no rank has made progress for 5 s: they wait for each other (rank 0 waits in mean "
        "(a.py:3, statistics); rank 1 was last in b)"
    )


def test_ranks_that_are_busy_alike_or_move_are_not_apart() -> None:
    busy = [(Heartbeat(progress=7, last="a"), Heartbeat(progress=7, last="a")) for _ in range(100)]
    assert rolled(*busy).find_lost(Timeouts(apart=5)) is None
    moving = [
        (Heartbeat(progress=7, at="a"), Heartbeat(progress=7, ticks=tick)) for tick in range(100)
    ]
    assert rolled(*moving).find_lost(Timeouts(apart=5)) is None


def test_who_waits_is_said_with_the_one_that_is_behind() -> None:
    two = (Heartbeat(progress=8, at="barrier (x.py:1, f)", last="barrier"), Heartbeat(progress=7))
    said = rolled(*[two for _ in range(6)]).find_lost(Timeouts(behind=5, apart=5))
    assert said == (
        "rank 1 has made no progress for 5 s while other ranks wait for it (rank 0 waits in "
        "barrier (x.py:1, f); rank 1 has reached none yet)"
    )
