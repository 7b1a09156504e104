"""The lane of a thread, and the shares of the lanes."""

from __future__ import annotations

import pytest

from tests.support.pages import ROOT
from worker.domain.lanes import (
    EQUAL_SHARES,
    LANES,
    QUEUES,
    QUOTA_LANES,
    USUAL_CEILINGS,
    USUAL_FLOORS,
    Lane,
    Shares,
    current_lane,
    enter_lane,
    leave_lane,
)


def test_every_lane_is_described_and_the_rest_is_read_from_there() -> None:
    assert list(LANES) == list(Lane)
    assert all(description.purpose for description in LANES.values())
    assert {description.quota_lane for description in LANES.values()} == set(QUOTA_LANES)
    assert all(LANES[lane].quota_lane is lane for lane in QUOTA_LANES)
    assert set(Lane) - set(QUEUES) == {Lane.BY_HAND, Lane.OTHER}
    usual = Shares.parse(USUAL_FLOORS, USUAL_CEILINGS)
    assert [(usual.floor(lane), usual.ceiling(lane)) for lane in QUOTA_LANES] == [
        LANES[lane].shares for lane in QUOTA_LANES
    ]


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "explanation" / "quotas.md").read_text(encoding="utf-8").splitlines()
    for lane in QUOTA_LANES:
        floor, ceiling = LANES[lane].shares or (0, 100)
        assert f"| `{lane}` | {LANES[lane].purpose} | {floor} % | {ceiling} % |" in page


@pytest.mark.parametrize("prefix", ["", "0.0.1.0.1."])  # RabbitMQ writes a delay so.
@pytest.mark.parametrize("queue", ["steps", "control", "first_screen", "nightly", "repair", "backfill", "strangers"])
def test_a_task_has_the_lane_of_its_queue_until_it_ends(prefix: str, queue: str) -> None:
    token = enter_lane(prefix + queue)
    assert current_lane() == queue
    leave_lane(token)
    assert current_lane() is Lane.BY_HAND


@pytest.mark.parametrize("queue", ["by_hand", "celery", "", None])
def test_an_unknown_queue_is_another_lane_and_never_a_name_of_its_own(queue: str | None) -> None:
    token = enter_lane(queue)
    assert current_lane() is Lane.OTHER
    leave_lane(token)


def test_shares_are_read_from_text_and_unnamed_lanes_have_none_and_all() -> None:
    shares = Shares.parse(" nightly = 30,backfill=5,", "backfill=90")
    assert [shares.floor(lane) for lane in QUOTA_LANES] == [0, 30, 0, 5, 0]
    assert [shares.ceiling(lane) for lane in QUOTA_LANES] == [100, 100, 100, 90, 5]
    assert Shares.parse("", "") == EQUAL_SHARES


def test_a_hard_ceiling_can_be_set_and_is_not_lost_where_the_settings_name_other_lanes() -> None:
    assert Shares.parse("", "first_screen=50").ceiling(Lane.STRANGERS) == 5
    assert Shares.parse("", "strangers=2").ceiling(Lane.STRANGERS) == 2
    assert QUEUES[-1] == QUOTA_LANES[-1] == Lane.STRANGERS, "it is served after all others"


@pytest.mark.parametrize(
    "floors, ceilings",
    [
        ("nightly", ""),
        ("nightly=101", ""),
        ("nightly=-1", ""),
        ("evening=3", ""),
        ("nightly=60,backfill=31", ""),
        ("", "backfill=0"),
        ("backfill=20", "backfill=10"),
    ],
)
def test_shares_that_can_not_work_are_refused_with_a_word(floors: str, ceilings: str) -> None:
    with pytest.raises(ValueError, match=r"needs|below"):
        Shares.parse(floors, ceilings)
