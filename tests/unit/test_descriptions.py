"""One description a thing: what a new error code, notice, series or supplier still lacks is listed here by name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.unit.test_errors import TREE
from worker.accounts.notice_channels import CURVE_NOT_ACTIVATED, DESCRIPTIONS, compose_message
from worker.clients.suppliers import SUPPLIERS
from worker.domain.account import AccountState
from worker.domain.calls import AnswerClass
from worker.domain.incident import IncidentKind
from worker.domain.notice import Notice, NoticeKind
from worker.domain.parsing import PARSERS
from worker.domain.reasons import _REASON_BY_FAILURE, _REASON_BY_REFUSAL, Reason
from worker.domain.series import SERIES_DESCRIPTIONS, Doctype, Series, grid_operator_of
from worker.errors import (
    CLASS_BY_CODE,
    AccountError,
    ConsentEnded,
    MeterElsewhere,
    RightRefused,
    SeriesNotOffered,
    TokenNeeded,
    describe_code,
)
from worker.texts import load_texts

NOW = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)
# Codes under which a call failed, and no account is to blame.
FAILED_CALLS = [
    code
    for code, error in CLASS_BY_CODE.items()
    if not issubclass(error, AccountError | RightRefused | SeriesNotOffered | MeterElsewhere)
]
SUSPENDING = [code for code, error in CLASS_BY_CODE.items() if error.suspends]
REASONS = {
    NoticeKind.ACTION_NEEDED: SUSPENDING,
    NoticeKind.CURVE_NOT_ACTIVATED: [CURVE_NOT_ACTIVATED],
    NoticeKind.INCIDENT: [kind.value for kind in IncidentKind],
    NoticeKind.INCIDENT_OVER: [kind.value for kind in IncidentKind],
    NoticeKind.SUPPLIER_CHANGED: ["unknown_field"],
}


def keys_of_texts() -> Iterator[str]:
    """Yield the keys that no template and no literal in the code names."""
    yield from (
        f"code.{code}.what_to_do" for code in (*CLASS_BY_CODE, "VENDOR_DOWN", "UNKNOWN_ERROR", CURVE_NOT_ACTIVATED)
    )
    yield from (f"code.{code}.cause" for code in (*FAILED_CALLS, "UNKNOWN_ERROR"))
    yield from (f"code.{code}.{part}" for code in SUSPENDING for part in ("headline", "advice"))
    yield from (f"notice.{kind.value}.subject" for kind in NoticeKind)
    yield from (f"notice.incident.{kind.value}.text" for kind in IncidentKind)
    yield from (f"reason.{reason.value}" for reason in Reason)
    yield from (f"home.state.{state.value}" for state in AccountState)
    yield "home.state.files_only"


def test_every_code_notice_and_reason_has_its_texts() -> None:
    assert sorted(set(keys_of_texts()) - load_texts().keys()) == []


def test_no_text_is_left_over_from_a_code_notice_or_reason_that_went() -> None:
    kept = {*keys_of_texts(), "notice.consent_ends.text", "notice.incident_over.text", "notice.supplier_changed.text"}
    kept |= {"notice.right_proof.text", "notice.right_proof_rejected.text", "notice.token_ends.text"}
    kept |= {"notice.account_closed.text", "notice.meter_requested.text", "notice.month.text", "notice.alert.text"}
    kept |= {"notice.output_fails.text", "notice.gateway_banned.text", f"notice.consent_ends.{TokenNeeded.code}.text"}
    kept |= {
        "notice.account",
        "notice.prefix",
        "notice.renew",
        *(f"reason.again.{when}" for when in ("now", "today", "later", "undated")),
    }
    kept |= {f"reason.{reason.value}.{own}" for reason in Reason for own in (*Series, *SUPPLIERS)}
    rooms = ("code.", "notice.", "reason.")
    assert sorted(key for key in load_texts() if key.startswith(rooms) and key not in kept) == []


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_an_error_has_one_description(error: type) -> None:
    assert not error.code or issubclass(error, describe_code(error.code))
    # That a meter has no such series is what the supplier answers.
    assert not error.answer_class.is_answer or error is SeriesNotOffered
    assert error.incident is None or IncidentKind(error.incident) is not IncidentKind.BY_HAND
    if error.suspends:
        assert error.answer_class in _REASON_BY_REFUSAL


def test_each_way_a_consent_is_over_is_the_reason_of_a_day_too() -> None:
    over = [error for error in TREE if issubclass(error, ConsentEnded)]
    assert {Reason(error.code.lower()) for error in over} == {
        Reason.CONSENT_ENDED,
        Reason.CONSENT_STOPPED,
        Reason.ACCOUNT_CLOSED,
    }


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(ValueError, match="'SOMETHING_NEW'"):
        describe_code("SOMETHING_NEW")


def test_every_failure_has_its_reason_and_every_notice_its_description() -> None:
    assert {failure for failure in AnswerClass if not failure.is_answer} == set(_REASON_BY_FAILURE)
    assert set(NoticeKind) == set(DESCRIPTIONS)


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_notice_says_what_to_do_in_both_languages(kind: NoticeKind) -> None:
    for reason in REASONS.get(kind, [""]):
        notice = Notice("n1", "k3q7d0fr2mxx", kind, reason, "2024-08-01", "mail", NOW, NOW)
        message = compose_message(notice)
        assert all(len(message.texts[language]) > 30 for language in ("fr", "en"))
        assert "{" not in message.to_text("en")
        assert "\n" not in message.to_subject("en")


def missing_of_series(series: Series) -> Iterator[str]:
    """Yield what a series lacks beside its description."""
    if series not in SERIES_DESCRIPTIONS:
        yield "description: SERIES_DESCRIPTIONS in worker/domain/series.py"
    if series not in PARSERS:
        yield "parser: PARSERS in worker/domain/parsing/__init__.py"
    supplier = SUPPLIERS.get(series.description.supplier)
    if supplier is None:
        yield f"supplier: {series.description.supplier} in SUPPLIERS in worker/clients/suppliers.py"
        return
    if not supplier.shapes.get(series):
        yield f"shape of its answers: answers.py of {supplier.name}"
    if not any(preset.offers(series) for preset in supplier.presets.values()):
        yield f"path: presets.py of {supplier.name}, in one preset at least"
    keys = [f"series.{series.value}.{part}" for part in ("name", "object")] + [f"home.read.{series.value}"]
    yield from (f"text: {key}" for key in keys if key not in load_texts())


@pytest.mark.parametrize("series", Series)
def test_a_series_lacks_nothing(series: Series) -> None:
    assert list(missing_of_series(series)) == []


def test_a_supplier_lacks_no_text() -> None:
    keys = {f"supplier.{name}{part}" for name in SUPPLIERS for part in ("", ".of", ".about")}
    assert sorted(keys - load_texts().keys()) == []


def test_doctypes_belong_to_one_series() -> None:
    doctypes = [doctype for series in Series for doctype in series.doctypes]
    assert sorted(doctypes) == sorted(Doctype)


def test_a_preset_offers_the_series_of_its_own_supplier_alone() -> None:
    strangers = [
        (preset.name, series.value)
        for supplier in SUPPLIERS.values()
        for preset in supplier.presets.values()
        for series in Series
        if preset.offers(series) and series.description.supplier != grid_operator_of(supplier.name)
    ]
    assert strangers == []
