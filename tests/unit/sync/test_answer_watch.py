"""What a supplier sends that nobody told us of: kept apart, told once, and never the reason that a reading fails."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.factories import USAGE_POINT, PretendSupplier, content, origin, v5_answer
from tests.unit.conftest import Household
from tests.unit.sync.test_replay import FIRST, WEEK
from worker.accounts.notice_texts import to_message
from worker.domain.consent.consents import NoticeKind
from worker.domain.measures.answer_shapes import Deviation, DeviationKind
from worker.domain.measures.readings import Period, Series
from worker.errors import MalformedAnswer, StoreUnavailable
from worker.stores.encryption import Sealer, new_key
from worker.stores.registry.unknown_answers import MOST_ROWS, QuarantineTable
from worker.sync.answer_watch import AnswerWatch


@pytest.fixture
def canary(household: Household) -> AnswerWatch:
    book = QuarantineTable(household.registry.database, Sealer([new_key()]))
    return AnswerWatch(book, ("webhook", "mail"), "enedis-v5", household.now)


def sync(household: Household, canary: AnswerWatch, answer: Any) -> str:
    home = household.add()
    household.supplier = PretendSupplier(daily=answer)
    replace(household.walk, witness=canary).sync_window(origin(WEEK, Series.DAILY, home))
    return home


def notices(household: Household) -> list[Any]:
    return [household.notices.claim(found, household.at) for found in household.notices.due(household.at)]


def surprise(number: int = 0) -> Deviation:
    return Deviation(DeviationKind.FIELD, f"answer.{'abcdefghij'[number % 10]}{'x' * (number // 10)}", "text", {})


def test_a_new_field_is_told_once_and_the_readings_are_stored(household: Household, canary: AnswerWatch) -> None:
    answer = v5_answer([[FIRST.isoformat(), "9000"]], "Wh", tempo="BLEU")
    home = sync(household, canary, answer)
    assert content(household.measures, home)[Period.DAY] == {FIRST.isoformat(): 9.0}
    (row,) = canary.quarantine.list()
    assert (row.kind, row.place) == (DeviationKind.FIELD, "meter_reading.tempo")
    told = notices(household)
    assert {(notice.channel, notice.kind, notice.reason) for notice in told} == {
        (channel, NoticeKind.SUPPLIER_CHANGED, "unknown_field") for channel in canary.channels
    }
    message = to_message(told[0], lambda account: "no link")
    assert message.renewal_url is None
    assert "unknown_field" in message.to_text() and "releve quarantine" in message.to_text()


@pytest.mark.parametrize(
    "answer, kind",
    [
        ({}, DeviationKind.EMPTY),
        ([], DeviationKind.EMPTY),
        ({"measures": {"value": "12"}}, DeviationKind.SHAPE),
        (v5_answer([[FIRST.isoformat(), "9"]], "kWh"), DeviationKind.UNIT),
        (v5_answer([[FIRST.isoformat(), "0"]], "W"), DeviationKind.UNIT),
    ],
)
def test_what_cant_be_read_is_kept_apart_and_never_becomes_data_or_zeros(
    household: Household, canary: AnswerWatch, answer: Any, kind: DeviationKind
) -> None:
    with pytest.raises(MalformedAnswer):
        sync(household, canary, answer)
    assert [row.kind for row in canary.quarantine.list()] == [kind]
    assert not any(store.documents for store in household.measures.values())
    assert len(notices(household)) == 2


def test_nothing_personal_gets_into_logs_notices_or_the_list(
    household: Household, canary: AnswerWatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sync(household, canary, v5_answer([[FIRST.isoformat(), "9000"]], "Wh", holder="Mme Dupont", meter=USAGE_POINT))
    told = caplog.text + repr(notices(household)) + repr(canary.quarantine.list())
    assert "unknown_field" in caplog.text
    assert not any(secret in told for secret in (USAGE_POINT, "Dupont", "9000"))


def test_a_field_in_every_answer_of_a_night_is_written_once_a_minute_and_counted(
    household: Household, canary: AnswerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    note = QuarantineTable.note
    monkeypatch.setattr(QuarantineTable, "note", lambda self, *args: written.append(args[1]) or note(self, *args))
    for _ in range(100):
        canary.report(surprise())
    assert written == [1]
    household.at += timedelta(minutes=1)
    canary.report(surprise())
    assert written == [1, 100]
    assert [row.times for row in canary.quarantine.list()] == [101]


def test_a_registry_that_is_down_costs_no_reading_and_no_count(
    household: Household, canary: AnswerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> None:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(QuarantineTable, "note", down)
        home = sync(household, canary, v5_answer([[FIRST.isoformat(), "9000"]], "Wh", tempo="BLEU"))
    assert content(household.measures, home)[Period.DAY] == {FIRST.isoformat(): 9.0}
    sync(household, canary, v5_answer([[FIRST.isoformat(), "9000"]], "Wh", tempo="BLEU"))
    assert [row.times for row in canary.quarantine.list()] == [2]


def test_what_was_cleared_is_told_anew_when_it_comes_again(household: Household, canary: AnswerWatch) -> None:
    canary.report(surprise())
    notices(household)
    canary.quarantine.clear(surprise().fingerprint)
    household.at += timedelta(days=1)
    canary.report(surprise())
    assert len(list(canary.quarantine.list())) == 1
    assert {notice.about for notice in notices(household) if notice} >= {
        f"{surprise().fingerprint}@{household.at.isoformat(timespec='seconds')}"
    }


def test_a_supplier_that_sends_something_new_each_time_fills_no_mailbox(
    household: Household, canary: AnswerWatch
) -> None:
    for number in range(MOST_ROWS + 30):
        canary.report(surprise(number))
    assert len(list(canary.quarantine.list())) == MOST_ROWS
    reasons = [notice.reason for notice in household.notices._list() if notice.channel == "mail"]
    assert (reasons.count("unknown_field"), reasons.count("quarantine_full")) == (MOST_ROWS, 1)
