"""Which cards are fetched: always the newest wish, and none twice."""

from __future__ import annotations

import threading

from husai_tui.state.lens import KEPT, Lens, Slide
from tests.tui.fake_features import TITLE, FakeMicroscope


def of(feature: int, seed: int = 7) -> Slide:
    return Slide("tiny", TITLE, seed, feature)


class Made:
    """Counts how many microscopes were made."""

    def __init__(self, one: FakeMicroscope) -> None:
        self.one, self.times = one, 0

    def __call__(self) -> FakeMicroscope:
        self.times += 1
        return self.one


def nothing() -> None:
    """Take no notice."""


def test_cards_come_one_after_another_and_none_twice() -> None:
    fake, arrived = FakeMicroscope(), []
    made = Made(fake)
    lens = Lens(made)
    assert lens.card(of(1)) is None
    assert made.times == 0, "nothing is started before somebody looks"
    assert lens.want([of(1), of(2)])
    lens.fetch(lambda: arrived.append(1))
    assert fake.asked == [(7, 1), (7, 2)]
    assert len(arrived) == 2
    assert lens.card(of(2)) is not None
    assert not lens.want([of(1), of(2)])
    lens.fetch(nothing)
    assert (len(fake.asked), made.times) == (2, 1)


def test_what_nobody_wants_any_more_is_not_fetched() -> None:
    fake = FakeMicroscope()
    lens = Lens(lambda: fake)
    lens.want([of(1), of(2), of(3)])
    lens.fetch(lambda: lens.want([of(9)]))
    assert fake.asked == [(7, 1), (7, 9)]


def test_a_failure_is_told_and_not_repeated_until_asked_again() -> None:
    fake = FakeMicroscope()
    fake.broken = "the microscope died twice"
    lens = Lens(lambda: fake)
    lens.want([of(1)])
    lens.fetch(nothing)
    assert lens.problem(of(1)) == "the microscope died twice"
    assert not lens.want([of(1)])
    fake.broken = ""
    assert lens.want([of(1)], again=True)
    lens.fetch(nothing)
    assert lens.problem(of(1)) == ""
    assert lens.card(of(1)) is not None


def test_a_fault_there_is_told_too() -> None:
    class Faulty(FakeMicroscope):
        def look(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise KeyError("map")

    lens = Lens(Faulty)
    lens.want([of(1)])
    lens.fetch(nothing)
    assert lens.problem(of(1)) == "KeyError('map')"


def test_not_more_is_kept_than_there_is_room_for() -> None:
    lens = Lens(FakeMicroscope)
    for feature in range(KEPT + 3):
        lens.want([of(feature)])
        lens.fetch(nothing)
    assert lens.card(of(2)) is None
    assert lens.card(of(3)) is not None


def test_cards_of_a_cohort_that_was_written_anew_are_forgotten() -> None:
    lens = Lens(FakeMicroscope)
    lens.want([of(1), Slide("other", TITLE, 7, 1)])
    lens.fetch(nothing)
    lens.forget("tiny", TITLE)
    assert lens.card(of(1)) is None
    assert lens.card(Slide("other", TITLE, 7, 1)) is not None


def test_closing_ends_who_waits_and_starts_nothing_more() -> None:
    fake = FakeMicroscope()
    fake.ready.clear()
    made = Made(fake)
    lens = Lens(made)
    lens.want([of(1), of(2)])
    thread = threading.Thread(target=lens.fetch, args=(nothing,))
    thread.start()
    while not fake.asked:
        thread.join(0.01)
    lens.close()
    thread.join(5)
    assert not thread.is_alive()
    assert fake.asked == [(7, 1)]
    assert not lens.want([of(3)])
    lens.fetch(nothing)
    unused = Lens(made)
    unused.close()
    assert made.times == 1
