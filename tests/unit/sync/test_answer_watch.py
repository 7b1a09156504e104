"""Deviations of answers: put into the quarantine with one notice, and never the reason why a reading fails."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.factories import USAGE_POINT, PretendSupplier, content, v5_answer, window_job
from tests.support.registries import registry_sealer
from tests.unit.conftest import Household
from tests.unit.sync.test_replay import FIRST, WEEK
from worker.accounts.notice_channels import compose_message
from worker.clients.enedis.presets import ANSWER_SHAPES
from worker.domain.answers import Deviation, DeviationKind
from worker.domain.notice import NoticeKind
from worker.domain.series import Doctype, Series
from worker.errors import MalformedAnswer, StoreUnavailable
from worker.stores.encryption import generate_key
from worker.stores.registry.supplier_answers import MAX_ROWS, QuarantineTable, RawAnswerTable
from worker.stores.registry.tables import NOTICES
from worker.sync.quarantine import AnswerWatch


@pytest.fixture
def watch(household: Household) -> AnswerWatch:
    table = QuarantineTable(household.registry.database, registry_sealer(generate_key()))
    return AnswerWatch(
        quarantine=table,
        channels=("webhook", "mail"),
        presets={"enedis": "enedis-v5"},
        now=household.now,
        shapes=ANSWER_SHAPES,
    )


def sync(household: Household, watch: AnswerWatch, answer: Any) -> str:
    home = household.add()
    household.supplier = PretendSupplier(daily=answer)
    replace(household.window_sync, observe=watch.record_answer).sync_window(window_job(WEEK, Series.DAILY, home))
    return home


def new_deviation(number: int = 0) -> Deviation:
    return Deviation(DeviationKind.FIELD, f"answer.{'abcdefghij'[number % 10]}{'x' * (number // 10)}", "text", {})


def test_a_new_field_is_told_once_and_the_readings_are_stored(household: Household, watch: AnswerWatch) -> None:
    answer = v5_answer([[FIRST.isoformat(), "9000"]], "Wh", tempo="BLEU")
    home = sync(household, watch, answer)
    assert content(household.measures, home)[Doctype.DAY] == {FIRST.isoformat(): 9.0}
    (row,) = watch.quarantine.list_entries()
    assert (row.kind, row.place) == (DeviationKind.FIELD, "meter_reading.tempo")
    new_notices = household.claim_due_notices()
    assert {(notice.channel, notice.kind, notice.reason) for notice in new_notices} == {
        (channel, NoticeKind.SUPPLIER_CHANGED, "unknown_field") for channel in watch.channels
    }
    message = compose_message(new_notices[0])
    assert not message.new_consent_helps
    assert "unknown_field" in message.to_text("en") and "releve quarantine" in message.to_text("en")


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
    household: Household, watch: AnswerWatch, answer: Any, kind: DeviationKind
) -> None:
    with pytest.raises(MalformedAnswer):
        sync(household, watch, answer)
    assert [row.kind for row in watch.quarantine.list_entries()] == [kind]
    assert not any(store.documents for store in household.measures.values())
    assert len(household.claim_due_notices()) == 2


def test_nothing_personal_gets_into_logs_notices_or_the_list(
    household: Household, watch: AnswerWatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sync(household, watch, v5_answer([[FIRST.isoformat(), "9000"]], "Wh", holder="Mme Dupont", meter=USAGE_POINT))
    texts = caplog.text + repr(household.claim_due_notices()) + repr(watch.quarantine.list_entries())
    assert "unknown_field" in caplog.text
    assert not any(secret in texts for secret in (USAGE_POINT, "Dupont", "9000"))


def test_a_field_in_every_answer_of_a_night_is_written_once_a_minute_and_counted(
    household: Household, watch: AnswerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    record = QuarantineTable.record
    monkeypatch.setattr(QuarantineTable, "record", lambda self, *args: written.append(args[1]) or record(self, *args))
    for _ in range(100):
        watch.report_deviation(new_deviation(), "enedis")
    assert written == [1]
    household.at += timedelta(minutes=1)
    watch.report_deviation(new_deviation(), "enedis")
    assert written == [1, 100]
    assert [row.times for row in watch.quarantine.list_entries()] == [101]


def test_a_registry_that_is_down_costs_no_reading_and_no_count(
    household: Household, watch: AnswerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> None:
        raise StoreUnavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(QuarantineTable, "record", down)
        home = sync(household, watch, v5_answer([[FIRST.isoformat(), "9000"]], "Wh", tempo="BLEU"))
    assert content(household.measures, home)[Doctype.DAY] == {FIRST.isoformat(): 9.0}
    sync(household, watch, v5_answer([[FIRST.isoformat(), "9000"]], "Wh", tempo="BLEU"))
    assert [row.times for row in watch.quarantine.list_entries()] == [2]


def test_what_was_cleared_is_told_anew_when_it_comes_again(household: Household, watch: AnswerWatch) -> None:
    watch.report_deviation(new_deviation(), "enedis")
    household.claim_due_notices()
    watch.quarantine.delete(new_deviation().fingerprint)
    household.at += timedelta(days=1)
    watch.report_deviation(new_deviation(), "enedis")
    assert len(list(watch.quarantine.list_entries())) == 1
    assert {notice.about for notice in household.claim_due_notices()} >= {
        f"{new_deviation().fingerprint}@{household.at.isoformat(timespec='seconds')}"
    }


def test_a_supplier_that_sends_something_new_each_time_fills_no_mailbox(
    household: Household, watch: AnswerWatch
) -> None:
    for number in range(MAX_ROWS + 30):
        watch.report_deviation(new_deviation(number), "enedis")
    assert len(list(watch.quarantine.list_entries())) == MAX_ROWS
    with household.registry.database.reading() as connection:
        reasons = connection.execute(select(NOTICES.c.reason).where(NOTICES.c.channel == "mail")).scalars().all()
    assert (reasons.count("unknown_field"), reasons.count("quarantine_full")) == (MAX_ROWS, 1)


def test_an_answer_that_is_far_too_large_is_told_once_and_neither_checked_nor_kept(
    household: Household, watch: AnswerWatch
) -> None:
    kept = RawAnswerTable(household.registry.database, registry_sealer(generate_key()))
    rows: Any = [[FIRST.isoformat(), str(number)] for number in range(30_000)]
    home = sync(household, replace(watch, raw_answers=kept), v5_answer(rows, "Wh", tempo="BLEU"))
    (row,) = watch.quarantine.list_entries()
    assert (row.kind, row.place, row.detail) == (DeviationKind.SHAPE, "answer", "far too large")
    assert list(kept.read_answers(home)) == []
