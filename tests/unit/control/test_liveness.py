"""Who is heard: silence counts only while this side listens, and whoever may be coming back gets time."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from room_kit import ME, heartbeat

from hanse.control.liveness import Liveness
from hanse.core.snapshot import Reach
from hanse.core.time import US_PER_S, MonoTime


def made() -> Liveness:
    return Liveness(suspect_after_us=1_500_000, unreachable_after_us=3 * US_PER_S, return_grace_us=15 * US_PER_S)


def at(seconds: float) -> MonoTime:
    return MonoTime(round(seconds * US_PER_S))


def test_a_node_is_ready_then_suspect_then_unreachable_by_its_silence():
    liveness = made()
    liveness.listening(True, at(0))
    liveness.heard(heartbeat(), at(10))
    expected = {10: Reach.READY, 11.4: Reach.READY, 11.5: Reach.SUSPECT, 12.9: Reach.SUSPECT, 13: Reach.UNREACHABLE}
    assert {when: liveness.reach(ME, at(when)) for when in expected} == expected
    assert liveness.silence_us(ME, at(12)) == 2 * US_PER_S


def test_a_controller_that_has_just_started_gives_nodes_time_to_be_heard():
    liveness = made()
    assert liveness.reach(ME, at(0)) is Reach.SUSPECT
    liveness.listening(True, at(100))
    assert liveness.reach(ME, at(114.9)) is Reach.SUSPECT
    assert liveness.reach(ME, at(115)) is Reach.UNREACHABLE
    assert liveness.silence_us(ME, at(115)) is None


def test_after_its_own_link_was_down_it_gives_them_time_again():
    liveness = made()
    liveness.listening(True, at(0))
    liveness.heard(heartbeat(), at(1))
    liveness.listening(False, at(2))
    assert liveness.reach(ME, at(1_000)) is Reach.SUSPECT
    liveness.listening(True, at(1_000))
    assert liveness.reach(ME, at(1_014)) is Reach.SUSPECT
    assert liveness.reach(ME, at(1_015)) is Reach.UNREACHABLE
    liveness.heard(heartbeat(sequence=2), at(1_016))
    assert liveness.reach(ME, at(1_017)) is Reach.READY


def test_an_old_heartbeat_that_comes_late_is_no_sign_of_life():
    liveness = made()
    liveness.listening(True, at(0))
    liveness.heard(heartbeat(incarnation=2, sequence=5), at(1))
    assert not liveness.heard(heartbeat(incarnation=2, sequence=5), at(2))
    assert not liveness.heard(heartbeat(incarnation=1, sequence=99), at(2))
    assert liveness.reach(ME, at(2.5)) is Reach.SUSPECT


def test_a_new_start_and_a_return_are_news_and_a_plain_heartbeat_is_not():
    liveness = made()
    liveness.listening(True, at(0))
    assert liveness.heard(heartbeat(sequence=1), at(1)), "first word"
    assert not liveness.heard(heartbeat(sequence=2), at(2))
    assert liveness.heard(heartbeat(incarnation=2, sequence=1), at(3)), "new start"
    assert liveness.heard(heartbeat(incarnation=2, sequence=2), at(30)), "back from silence"


EVENTS = st.lists(
    st.tuples(st.sampled_from(["up", "down", "beat"]), st.integers(1, 8_000_000)), min_size=1, max_size=30
)


@given(EVENTS)
def test_never_is_anybody_unreachable_while_this_sides_link_is_down_or_hardly_up(events: list[tuple[str, int]]):
    liveness, now, up_since, sequence, last_beat = made(), 0, None, 0, None
    for kind, passed_us in events:
        now += passed_us
        match kind:
            case "up":
                up_since = now if up_since is None else up_since
                liveness.listening(True, MonoTime(now))
            case "down":
                up_since = None
                liveness.listening(False, MonoTime(now))
            case _:
                sequence += 1
                last_beat = now
                liveness.heard(heartbeat(sequence=sequence), MonoTime(now))
        for later in (0, 2_000_000, 4_000_000, 20_000_000):
            reach = liveness.reach(ME, MonoTime(now + later))
            if reach is Reach.UNREACHABLE:
                assert up_since is not None
                assert now + later - up_since >= 3 * US_PER_S
                assert last_beat is None or now + later - last_beat >= 3 * US_PER_S


def test_the_settings_say_so_even_if_the_grace_is_shorter_than_the_silence():
    odd: Any = Liveness(suspect_after_us=1, unreachable_after_us=3 * US_PER_S, return_grace_us=0)
    odd.listening(True, at(0))
    assert odd.reach(ME, at(2.9)) is Reach.SUSPECT
