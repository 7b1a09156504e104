"""The reason of a day and series: what can't change, what keeps us from asking, the last call, then waiting."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many, several
from worker import errors
from worker.accounts.explanations import format_sentences
from worker.domain.account import Account, AccountState
from worker.domain.calls import AnswerClass, Call, call_to_fields, calls_from_fields, classify_answer, last_failure
from worker.domain.completeness import BEFORE, COMPLETE, UNKNOWN, DayMark, DayState, Hole
from worker.domain.reasons import DayFacts, Reason, choose_series_reason, reason_of
from worker.domain.series import USUAL_SERIES, Series, of_supplier
from worker.domain.windows import ONE_DAY, PARIS, DateWindow
from worker.errors import StoreUnavailable, WorkerError
from worker.texts import LANGUAGES

ELECTRICITY = of_supplier("enedis", USUAL_SERIES)
TODAY = date(2024, 7, 25)
DAY = date(2024, 7, 10)
NOW = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)
LATE, ABSENT = DayMark(DayState.LATE, 0, 8), DayMark(DayState.ABSENT)
PARTIAL = DayMark(DayState.PARTIAL, 46, 8)
SOON = TODAY + ONE_DAY

AGAIN = NOW + ONE_DAY


def account_in(
    state: AccountState = AccountState.READY, reason: str = "", consent_until: date | None = None
) -> Account:
    return Account("home1", state, "enedis", NOW, reason=reason, consent_until=consent_until)


ENDED = account_in(AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED")
READY = account_in()
UNCONFIRMED = replace(account_in(AccountState.NEW), is_vouched=True)


@pytest.mark.parametrize(
    "facts, account, reason",
    [
        (DayFacts(COMPLETE), READY, Reason.COMPLETE),
        (DayFacts(COMPLETE), ENDED, Reason.COMPLETE),
        (DayFacts(PARTIAL, asked_next=AGAIN), READY, Reason.PARTIAL),
        (DayFacts(PARTIAL, asked_next=AGAIN, failure=AnswerClass.OUTAGE), READY, Reason.PARTIAL),
        (DayFacts(PARTIAL), READY, Reason.PARTIAL_FOR_GOOD),
        (DayFacts(PARTIAL, asked_next=AGAIN), ENDED, Reason.CONSENT_REFUSED),
        (DayFacts(LATE, asked_next=AGAIN), READY, Reason.LATE),
        (DayFacts(LATE, Hole.LATE, AGAIN), READY, Reason.LATE),
        (DayFacts(LATE, Hole.NOTHING, AGAIN), READY, Reason.LATE),
        (DayFacts(LATE, Hole.TRANSMISSION, AGAIN), READY, Reason.CURVE_GAP),
        (DayFacts(LATE, Hole.NOT_ACTIVATED, AGAIN), READY, Reason.NOT_ACTIVATED),
        (DayFacts(ABSENT, Hole.NOT_ACTIVATED), READY, Reason.NOT_ACTIVATED),
        (DayFacts(ABSENT, Hole.NOT_YET_ACTIVATED), READY, Reason.NOT_YET_ACTIVATED),
        (DayFacts(ABSENT), READY, Reason.ABSENT),
        (DayFacts(ABSENT), ENDED, Reason.ABSENT),
        (DayFacts(ABSENT, Hole.TRANSMISSION), READY, Reason.CURVE_GAP_FOR_GOOD),
        (DayFacts(BEFORE), ENDED, Reason.BEFORE),
        (DayFacts(LATE), ENDED, Reason.CONSENT_REFUSED),
        (DayFacts(LATE), account_in(AccountState.ACTION_NEEDED, "LOGIN_FAILED"), Reason.ACCESS_REFUSED),
        (DayFacts(LATE), account_in(AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED"), Reason.METER_UNKNOWN),
        (
            DayFacts(LATE),
            account_in(AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.ACCOUNT_REMOVED"),
            Reason.HOLDER_CHANGED,
        ),
        (DayFacts(LATE), account_in(consent_until=TODAY - ONE_DAY), Reason.CONSENT_ENDED),
        (DayFacts(LATE), account_in(consent_until=TODAY), Reason.LATE),
        (DayFacts(LATE), account_in(AccountState.ACTION_NEEDED, "CONSENT_STOPPED"), Reason.CONSENT_STOPPED),
        (DayFacts(LATE), account_in(AccountState.PAUSED, "CONSENT_STOPPED"), Reason.CONSENT_STOPPED),
        (DayFacts(COMPLETE), account_in(AccountState.ACTION_NEEDED, "CONSENT_STOPPED"), Reason.COMPLETE),
        (DayFacts(LATE), account_in(AccountState.CLOSED, consent_until=DAY), Reason.ACCOUNT_CLOSED),
        (DayFacts(), account_in(AccountState.NEW), Reason.NOT_CONNECTED),
        (DayFacts(), UNCONFIRMED, Reason.NOT_CONFIRMED),
        (DayFacts(failure=AnswerClass.CONSENT), UNCONFIRMED, Reason.IN_DOUBT),
        (DayFacts(failure=AnswerClass.OUTAGE), UNCONFIRMED, Reason.OUTAGE),
        (DayFacts(wanted=False), UNCONFIRMED, Reason.BEYOND_HISTORY),
        (DayFacts(LATE), account_in(AccountState.PAUSED), Reason.PAUSED),
        (DayFacts(LATE, failure=AnswerClass.OUTAGE), READY, Reason.OUTAGE),
        (DayFacts(LATE, failure=AnswerClass.QUOTA), READY, Reason.QUOTA),
        (DayFacts(failure=AnswerClass.MALFORMED), READY, Reason.MALFORMED),
        (DayFacts(failure=AnswerClass.UNUSABLE), READY, Reason.MALFORMED),
        (DayFacts(failure=AnswerClass.BUG), READY, Reason.BUG),
        (DayFacts(failure=AnswerClass.APPLICATION), READY, Reason.APPLICATION_REFUSED),
        (DayFacts(failure=AnswerClass.STORE), READY, Reason.STORE_DOWN),
        (DayFacts(failure=AnswerClass.CONSENT), READY, Reason.IN_DOUBT),
        (DayFacts(failure=AnswerClass.OUTAGE), account_in(AccountState.PAUSED), Reason.PAUSED),
        (DayFacts(), READY, Reason.NOT_ASKED_YET),
        (DayFacts(wanted=False), READY, Reason.BEYOND_HISTORY),
        (DayFacts(LATE, asked_next=AGAIN, later=False), READY, Reason.LATE),
        (DayFacts(LATE, asked_next=AGAIN, later=True), READY, Reason.GAP),
        (DayFacts(LATE, later=True), ENDED, Reason.CONSENT_REFUSED),
        (DayFacts(ABSENT, later=True), READY, Reason.ABSENT),
        (DayFacts(ABSENT, later=False), READY, Reason.ABSENT),
        (DayFacts(LATE, later=False, of_periods=True), READY, Reason.LATE),
        (DayFacts(ABSENT, later=False, of_periods=True), READY, Reason.LATE),
        (DayFacts(ABSENT, later=True, of_periods=True), READY, Reason.ABSENT),
        (DayFacts(later=False, of_periods=True), READY, Reason.NOT_ASKED_YET),
        (DayFacts(ended=True, frequency="6M"), READY, Reason.READ_SIX_MONTHLY),
        (DayFacts(ended=True, frequency="JJ"), READY, Reason.NOT_OFFERED),
        (DayFacts(ended=True), READY, Reason.NOT_OFFERED),
        (DayFacts(COMPLETE, ended=True), READY, Reason.COMPLETE),
    ],
)
def test_the_reason_follows_from_what_is_known(facts: DayFacts, account: Account, reason: Reason) -> None:
    assert reason_of(DAY, TODAY, facts, account) is reason


def test_the_reason_to_show_is_of_consumption_where_there_is_any() -> None:
    complete, late, gap = Reason.COMPLETE, Reason.LATE, Reason.CURVE_GAP
    usual = {Series.DAILY: complete, Series.LOAD_CURVE: complete}
    production = {Series.PRODUCTION_DAILY: complete, Series.PRODUCTION_LOAD_CURVE: gap}
    assert choose_series_reason({**usual, **production, Series.MAX_POWER: late}) == (complete, frozenset(usual))
    assert choose_series_reason({**usual, Series.LOAD_CURVE: gap}) == (gap, frozenset({Series.LOAD_CURVE}))
    assert choose_series_reason({Series.DAILY: late, Series.LOAD_CURVE: gap}) == (late, frozenset({Series.DAILY}))
    assert choose_series_reason({Series.DAILY: complete, **production}) == (complete, frozenset({Series.DAILY}))
    assert choose_series_reason(production) == (gap, frozenset({Series.PRODUCTION_LOAD_CURVE}))
    assert choose_series_reason({Series.CONTRACT: Reason.IN_FORCE})[0] is Reason.IN_FORCE


def test_a_state_is_in_force_whatever_the_account_waits_for() -> None:
    assert reason_of(DAY, TODAY, DayFacts(in_force=True), ENDED) is Reason.IN_FORCE


def test_a_day_that_is_not_over_has_no_other_reason() -> None:
    assert reason_of(TODAY, TODAY, DayFacts(), ENDED) is Reason.NOT_OVER
    assert reason_of(SOON, TODAY, DayFacts(), READY) is Reason.FUTURE


facts_of_any_kind = st.builds(
    DayFacts,
    st.sampled_from([COMPLETE, BEFORE, UNKNOWN, LATE, ABSENT, PARTIAL]),
    st.none() | st.sampled_from(Hole),
    st.none() | st.just(AGAIN),
    st.none() | st.sampled_from([answer for answer in AnswerClass if not answer.is_answer]),
    st.booleans(),
)
accounts_of_any_kind = st.builds(
    account_in,
    st.sampled_from([state for state in AccountState if state is not AccountState.DELETED]),
    st.sampled_from([code for code, error in errors.CLASS_BY_CODE.items() if error.suspends]),
    st.none() | st.sampled_from([DAY, TODAY, SOON]),
)


@many
@given(facts_of_any_kind, facts_of_any_kind, accounts_of_any_kind, st.sampled_from(LANGUAGES))
def test_every_day_has_a_sentence_that_names_it(
    daily: DayFacts, curve: DayFacts, account: Account, language: str
) -> None:
    reasons = {
        series: reason_of(DAY, TODAY, facts, account) for series, facts in zip(ELECTRICITY, (daily, curve), strict=True)
    }
    reason, of = choose_series_reason(reasons)
    assert all(reasons[series] is reason for series in of)
    assert (reason is Reason.COMPLETE) == (set(reasons.values()) == {Reason.COMPLETE}), "well only where both are"
    sentences = format_sentences(reason, of, DAY, now=NOW, asked_next=AGAIN, consent_until=account.consent_until)
    sentence = sentences[language]
    assert {"fr": "10 juillet 2024", "en": "10 July 2024"}[language] in sentence
    assert sentence.endswith(".") and "{" not in sentence and "?" not in sentence and sentence.count(". ") == 0, (
        "one sentence"
    )


def test_a_sentence_is_said_as_people_say_it() -> None:
    late = {"now": NOW, "asked_next": datetime(2024, 8, 1, 8, 30, tzinfo=PARIS)}
    assert format_sentences(Reason.LATE, [Series.DAILY], DAY, **late)["fr"] == (
        "Enedis n’a pas encore publié le total du 10 juillet 2024 ; nous referons la demande le 1er août 2024 à 8 h 30."
    )
    assert format_sentences(
        Reason.LATE, ELECTRICITY, date(2024, 7, 1), now=NOW, asked_next=NOW.replace(hour=12, minute=30)
    )["fr"] == (
        "Enedis n’a pas encore publié les données du 1er juillet 2024 ; nous referons la demande aujourd’hui à 14 h 30."
    )
    assert format_sentences(Reason.PARTIAL, [Series.LOAD_CURVE], DAY, half_hours=46, **late)["en"] == (
        "Enedis has sent only 46 of the 48 half-hours of the curve for 10 July 2024; we will request it again on "
        "1 August 2024 at 08:30."
    )


@pytest.mark.parametrize("series", of_supplier("grdf"))
def test_no_sentence_about_gas_speaks_of_another_supplier_or_of_a_curve(series: Series) -> None:
    # Days and periods of gas are whole or not there, so none of them has these reasons.
    of_curves = {Reason.NOT_ACTIVATED, Reason.NOT_YET_ACTIVATED, Reason.PARTIAL, Reason.PARTIAL_FOR_GOOD}
    of_curves |= {Reason.CURVE_GAP, Reason.CURVE_GAP_FOR_GOOD, Reason.COMPUTED, Reason.FILES_PARTIAL}
    for reason in {*Reason} - of_curves:
        sentences = format_sentences(reason, [series], DAY, now=NOW, asked_next=AGAIN, consent_until=DAY)
        for sentence in sentences.values():
            said = [word for word in ("Enedis", "Linky", "courbe", "curve", "{") if word in sentence]
            assert said == [] and sentence.endswith(".") and sentence.count(". ") == 0, (reason, sentence)


def test_why_a_day_of_gas_is_missing_is_said_as_people_say_it() -> None:
    late = {"now": NOW, "asked_next": datetime(2024, 8, 1, 8, 30, tzinfo=PARIS)}
    daily, published = [Series.GAS_DAILY], [Series.GAS_PUBLISHED]
    assert format_sentences(Reason.LATE, daily, DAY, **late)["fr"] == (
        "GRDF n’a pas encore publié la consommation de gaz du 10 juillet 2024, car la publication prend un à trois "
        "jours ; nous referons la demande le 1er août 2024 à 8 h 30."
    )
    assert format_sentences(Reason.GAP, daily, DAY, **late)["en"] == (
        "GRDF has no value for 10 July 2024 (“Absence de données”), although a later day has one: the value is "
        "unknown, it is not zero; we will request it again on 1 August 2024 at 08:30."
    )
    assert format_sentences(Reason.LATE, published, DAY, now=NOW)["en"] == (
        "GRDF has not yet published the billed gas for the period of 10 July 2024, because it waits for the next meter "
        "reading, monthly or six-monthly; we will request it again later."
    )
    assert format_sentences(Reason.READ_SIX_MONTHLY, daily, DAY, **late)["fr"] == (
        "Ce compteur est relevé tous les six mois : GRDF n’a pas la consommation de gaz du 10 juillet 2024, mais "
        "seulement le gaz facturé d’un relevé au suivant."
    )


def test_the_days_of_gas_are_what_a_day_is_asked_about() -> None:
    reasons = {Series.GAS_DAILY: Reason.COMPLETE, Series.GAS_PUBLISHED: Reason.LATE}
    assert choose_series_reason({**reasons, Series.GAS_CONTRACT: Reason.IN_FORCE}) == (
        Reason.COMPLETE,
        frozenset({Series.GAS_DAILY}),
    )


# The fields of calls


def test_an_outage_is_no_bug_and_a_bug_no_outage() -> None:
    classes = {
        errors.RefreshAnswerLost: AnswerClass.CONSENT,
        StoreUnavailable: AnswerClass.STORE,
        WorkerError: AnswerClass.BUG,
        errors.RequestRefused: AnswerClass.BUG,
    }
    assert {error: error.answer_class for error in classes} == classes


def test_an_answer_is_known_by_what_it_brought() -> None:
    assert classify_answer(3, 1, None) is AnswerClass.DATA
    assert classify_answer(0, 0, None) is AnswerClass.NO_DATA
    assert classify_answer(0, 4, None) is AnswerClass.UNUSABLE
    assert classify_answer(0, 0, DAY) is AnswerClass.BEFORE_HISTORY


calls = st.builds(
    Call,
    st.integers(0, 300 * 24 * 3600).map(lambda seconds: NOW + timedelta(seconds=seconds)),
    st.dates(date(2024, 1, 1), date(2024, 12, 1)).map(lambda start: DateWindow(start, start + timedelta(days=7))),
    st.sampled_from(AnswerClass),
    st.sampled_from(["hand", "nightly", "backfill", "repair"]),
)


@several
@given(st.lists(calls, max_size=6))
def test_the_last_call_of_each_kind_of_answer_and_run_is_remembered(stored_calls: list[Call]) -> None:
    state = {"state": "ok", "window": "2024-01-01/2024-01-08"}
    for call in stored_calls:
        state |= call_to_fields(call)
    last = {(call.answer, call.run): call for call in stored_calls}
    assert sorted(calls_from_fields(state), key=repr) == sorted(last.values(), key=repr)
    assert all(len(text) <= 64 for text in state.values()), "Redis keeps short fields in a third of the space"


def test_a_failure_counts_until_the_day_was_answered() -> None:
    outage = Call(NOW, DateWindow(DAY, TODAY), AnswerClass.OUTAGE)
    answered = Call(NOW + timedelta(hours=1), outage.window, AnswerClass.NO_DATA)
    assert last_failure([outage], DAY, None, None) is AnswerClass.OUTAGE
    assert last_failure([outage], TODAY, None, None) is None, "its window did not hold the day"
    assert last_failure([answered, outage], DAY, TODAY, answered.at) is None
    # A call for another window has replaced the one that answered: the completeness table and the outcome decide.
    assert last_failure([outage], DAY, TODAY + ONE_DAY, None) is None
    assert last_failure([outage], DAY, TODAY, NOW + timedelta(hours=1)) is None
    assert last_failure([outage], DAY, TODAY, NOW - timedelta(hours=1)) is AnswerClass.OUTAGE
    assert last_failure([outage], DAY, TODAY - ONE_DAY, NOW - timedelta(hours=20)) is AnswerClass.OUTAGE
