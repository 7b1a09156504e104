"""Laws that hold for any input.

Only our own errors are raised.  No reading and no zero is stored that isn't in the input.  Energy is conserved, and
nothing lies outside the window.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from simulator.electricity_recordings import read_folder
from simulator.recorded_files import BrokenRecording
from tests.fuzz import corpus
from tests.fuzz.mutations import mutated, mutated_bytes, mutated_file
from tests.support.factories import (
    USAGE_POINT,
    PretendSupplier,
    make_window_sync,
    memory_measures,
    v5_answer,
    window_job,
)
from tests.support.strategies import json_values
from worker.clients.answer_shapes import MAX_DEVIATIONS, find_deviations
from worker.clients.enedis.client import classify, unexpected_refusal
from worker.clients.enedis.presets import ANSWER_SHAPES
from worker.clients.supplier_session import Reply, token_refused
from worker.clients.tokens import usage_points_from_id_token
from worker.domain.answers import AnswerKind, RawAnswer, pack_raw_answers, to_masked, to_sample, unpack_raw_answers
from worker.domain.documents import interval_of, key_range, to_amount, to_entry
from worker.domain.files.cells import shown_name
from worker.domain.parsing import parse
from worker.domain.series import USUAL_SERIES, Doctype, Series, of_supplier
from worker.domain.windows import PARIS, DateWindow
from worker.errors import MalformedAnswer, WorkerError

NOW: Final = datetime(2026, 10, 4, 9, 0, tzinfo=UTC)
WINDOW: Final = DateWindow(date(2024, 10, 1), date(2024, 11, 1))
BODIES: Final = corpus.bodies()
MEASURES: Final = [
    body for body in BODIES if any(name in body for name in ("meter_reading", "grandeur", "usage_point"))
]
TEXTS: Final = corpus.texts()
FILES: Final = corpus.files()
any_series = st.sampled_from(of_supplier("enedis", USUAL_SERIES))


# -- Answers of measures


@given(mutated(MEASURES) | mutated(BODIES), any_series)
def a_reading_is_in_the_answer_it_came_from(body: Any, series: Series) -> None:
    try:
        parsed = parse(body, series, WINDOW)
    except MalformedAnswer:
        return
    numbers_sent = Counter(numbers_in(body))
    for reading in parsed.readings:
        minutes = 60 if series is Series.DAILY else reading.length // timedelta(minutes=1)
        assert any(energy_of(number, minutes) == reading.amount for number in numbers_sent), reading
        assert reading.amount > 0 or 0 in {energy_of(number, minutes) for number in numbers_sent}
    energies = Counter(reading.amount for reading in parsed.readings)
    if series is Series.DAILY:  # No reading comes twice that was sent once.
        possible_energies = Counter(dict.fromkeys(energies, 0))
        for number, times in numbers_sent.items():
            possible_energies[energy_of(number, 60)] += times
        assert all(times <= possible_energies[energy] for energy, times in energies.items())
    starts = [reading.start.astimezone(UTC) for reading in parsed.readings]
    assert starts == sorted(set(starts))
    first, end = WINDOW.instants()
    within = parsed.clip_to(WINDOW)
    assert all(first <= reading.start < end for reading in within.readings)
    assert len(within.readings) + within.dropped == len(parsed.readings) + parsed.dropped


@given(mutated(MEASURES) | mutated(BODIES), any_series)
def energy_is_kept_from_the_answer_to_the_totals(body: Any, series: Series) -> None:
    measures = memory_measures()
    window_sync = make_window_sync(PretendSupplier(daily=body, curve=body), measures)
    if body is None:  # For the pretend supplier None means "no data".
        return
    try:
        report = window_sync.sync_window(window_job(WINDOW, series))
    except MalformedAnswer:
        assert not any(store.documents for store in measures.values())
        return
    expected = sum(reading.amount for reading in parse(body, series, WINDOW).clip_to(WINDOW).readings)
    expected -= sum(report["facts"]["set_aside"].values())
    inputs = measures[series.inputs].read("home1", "0", "~")
    first_key, end_key = key_range(WINDOW, series.inputs)
    assert all(first_key <= document["_id"].partition(":")[2] < end_key for document in inputs)
    assert len(inputs) == report["facts"]["fetched"]
    stored = sum(document["load"] for document in inputs)
    assert abs(stored - expected / 10**6) <= 0.0005 * len(inputs) + 1e-9
    for period in series.totals:
        totals = measures[period].read("home1", "0", "~")
        assert abs(sum(document["load"] for document in totals) - stored) <= 0.00005 * len(totals) + 1e-6
    repeated = window_sync.sync_window(window_job(WINDOW, series))
    assert (repeated["created"], repeated["updated"]) == (0, 0)


_steps = st.lists(
    st.tuples(st.integers(0, 287).map(lambda slot: 5 * slot), st.sampled_from([5, 10, 15, 30, 60]), st.integers(0, 9)),
    min_size=1,
    max_size=60,
)


def _rows(steps: list[tuple[int, int, int]]) -> list[list[str]]:
    midnight = datetime(2024, 10, 14, tzinfo=PARIS)
    ends = [(midnight + timedelta(minutes=start + length), length, watts) for start, length, watts in steps]
    return [[f"{end:%Y-%m-%d %H:%M:%S}", str(watts * 1200), f"PT{length}M"] for end, length, watts in ends]


@given(_steps, _steps)
def steps_that_overlap_count_no_time_twice_and_lose_none(
    first: list[tuple[int, int, int]], second: list[tuple[int, int, int]]
) -> None:
    measures, covered = memory_measures(), set[int]()
    day = DateWindow(date(2024, 10, 14), date(2024, 10, 15))
    for number, steps in enumerate((first, second, second)):
        at = NOW + timedelta(minutes=number)
        supplier = PretendSupplier(curve=v5_answer(_rows(steps), "W"))
        report = make_window_sync(supplier, measures, now=lambda at=at: at).sync_window(
            window_job(day, Series.LOAD_CURVE)
        )
        documents = measures[Doctype.MINUTE].read("home1", "0", "~")
        minutes = [minute for document in documents for minute in range(*interval_of(to_entry(document)))]
        assert len(minutes) == len(set(minutes)) and covered <= set(minutes)
        covered = set(minutes)
        hours = measures[Doctype.HOUR].read("home1", "0", "~")
        energy = sum(to_amount(document["load"]) for document in documents)
        assert energy == sum(to_amount(document["load"]) for document in hours)
        facts, bounds = report["facts"], {(start, length) for start, length, _ in steps}
        assert facts["fetched"] + facts["left_out"] == len(bounds)
    assert (report["created"], report["updated"], report["removed"]) == (0, 0, 0)


@given(mutated(MEASURES) | mutated(BODIES), st.sampled_from(of_supplier("enedis")))
def any_answer_can_be_looked_at_and_kept(body: Any, series: Series) -> None:
    deviations = find_deviations(body, ANSWER_SHAPES[series])
    assert len(deviations) <= MAX_DEVIATIONS
    assert not any(
        re.search(r"\d{14}", deviation.place + deviation.detail.replace("9" * 14, "")) for deviation in deviations
    )
    to_masked(to_sample(body))
    raw_answer = RawAnswer(series, NOW, WINDOW, [(WINDOW, body)])
    (unpacked,) = unpack_raw_answers(pack_raw_answers([raw_answer]))
    assert json.dumps(unpacked.pieces[0][1]) == json.dumps(body)
    try:
        parsed = parse(body, series, WINDOW)
    except MalformedAnswer:
        assert deviations, "what is refused is told"
        return
    assert parse(unpacked.pieces[0][1], series, WINDOW) == parsed


# -- Answers as bytes


@given(
    mutated_bytes(TEXTS) | mutated(BODIES).map(lambda body: json.dumps(body).encode()),
    st.sampled_from([200, 204, 302, 400, 401, 403, 404, 418, 429, 500, 503]),
    st.dictionaries(st.sampled_from(["Retry-After", "retry-after", "WWW-Authenticate"]), st.text(max_size=30)),
)
def any_reply_has_a_class(content: bytes, status: int, headers: dict[str, str]) -> None:
    reply = Reply(status, CaseInsensitiveDict(headers), content)
    for mode in ("user", "application"):
        token_refused(reply, mode)  # type: ignore[arg-type]
    texts = [reply.code, repr(unexpected_refusal(reply)), repr(reply)]
    try:
        answer = classify(reply, NOW)
    except WorkerError as error:
        texts.append(str(error))
        wait_s = getattr(error, "retry_after_s", None)
        assert wait_s is None or 0 < wait_s <= 86_400
    else:
        assert (answer.payload is not None) == (answer.kind is AnswerKind.DATA)
        if answer.kind is AnswerKind.DATA:
            assert 200 <= status < 300
            assert json.dumps(answer.payload) == json.dumps(json.loads(content))
        texts.append(repr(answer))
    assert not any(re.search(r"(?<!\d)[0-8]\d{13}(?!\d)", text) for text in texts)


_MOMENT: Final = datetime(2024, 7, 25, tzinfo=UTC)
_FOR_US: Final = {"iss": "https://supplier.example", "aud": "our-application", "exp": 4_102_444_800}
_CLAIMS: Final = [
    {**_FOR_US, "usage_point_id": USAGE_POINT},
    {**_FOR_US, "usage_points_id": f"{USAGE_POINT},11111111111111;x"},
    {**_FOR_US, "consentements": json.dumps([{"pce": "01234567890123", "id_accreditation": "0-0"}])},
    {**_FOR_US, "consents": [{"usage_point_id": USAGE_POINT}, {"pce": "GI123456"}]},
]


@given(mutated(_CLAIMS), st.sampled_from([b'{"alg":"HS256"}', b'{"alg":"none"}', b"{}", b"[]", b"\xff"]), st.booleans())
def a_token_names_only_meters_that_are_in_it(claims: Any, header: bytes, cut: bool) -> None:
    parts = [
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, json.dumps(claims).encode(), b"s")
    ]
    token = ".".join(parts)
    try:
        meters = usage_points_from_id_token(token[: len(token) // 2] if cut else token, "our-application", _MOMENT)
    except MalformedAnswer as error:
        assert token not in str(error)
        return
    text = json.dumps(claims)
    assert all(meter in text for meter in meters)
    assert len(set(meters)) == len(meters)


@given(st.one_of(st.text(max_size=60), json_values.map(json.dumps)))
def any_text_is_a_token_or_none(text: str) -> None:
    with suppress(MalformedAnswer):
        usage_points_from_id_token(text, "our-application", _MOMENT)


# -- Recorded files


@given(mutated_file(FILES), st.booleans())
@example(("98765432109876.daily.csv", b"date,wh\n0001-01-01,5\n9999-12-31,7\n"), False)
@example(("98765432109876.daily.csv", "date,wh\n2024-07-24,41566\n".encode("utf-16")), False)
@example(
    ("98765432109876.load_curve.csv", b"date_end_local,watts\n9999-12-31T23:59:59-23:00,5\n0001-01-01T00:00+20:00,1"),
    False,
)
def a_recorded_file_is_read_or_named_with_its_line(file: tuple[str, bytes], compressed: bool) -> None:
    name, content = file
    with TemporaryDirectory() as folder:
        path = Path(folder) / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content) if compressed else content)
        try:
            recorded = read_folder(Path(folder))
        except BrokenRecording as error:
            assert shown_name(name).removesuffix(".csv") in str(error) or "no recorded series" in str(error)
            return
    numbers_sent = set(floats_in(content))
    for home in recorded.gas.values():
        readings = [*home.days.values(), *home.periods]
        assert {float(one.energy) for one in readings if one.energy is not None} <= numbers_sent
        assert all(one.start < one.end for one in readings)
    for meter in recorded.meters.values():
        for points in meter.curves.values():
            assert all(float(point.watts) in numbers_sent for point in points)
        assert all(value >= 0 for value in meter.production_days.values())
        if "_Jour" in name:
            assert all(value >= 0 for value in meter.days.values())
        else:
            assert all(float(value) in numbers_sent for value in meter.days.values())


# -- Numbers in an input, read without the parsers of the program


def numbers_in(node: Any) -> Iterator[Decimal]:
    """Yield every number in a JSON value, also those in texts."""
    if isinstance(node, dict):
        for inner in node.values():
            yield from numbers_in(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from numbers_in(inner)
    elif isinstance(node, str | int | float) and not isinstance(node, bool):
        text = format(node, "f") if isinstance(node, float) else str(node).strip()
        try:
            number = Decimal(text) if len(text) < 40 else Decimal("NaN")
        except InvalidOperation:
            return
        if number.is_finite() and 0 <= number < 10**12:
            yield number


def energy_of(power: Decimal, minutes: int) -> int:
    """Return the milliwatt-hours of a mean power in W over so many minutes; with 60 minutes, of an energy in Wh."""
    return int((power * minutes * 1000 / 60).quantize(Decimal(1), ROUND_HALF_UP))


def floats_in(content: bytes) -> Iterator[float]:
    encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8"
    for word in re.split(r"[;,\s\x00]", content.decode(encoding, "replace").replace("\ufeff", "")):
        try:
            yield float(word)
        except ValueError:
            continue


LAWS: Final = {
    law.__name__: law
    for law in (
        a_reading_is_in_the_answer_it_came_from,
        energy_is_kept_from_the_answer_to_the_totals,
        steps_that_overlap_count_no_time_twice_and_lose_none,
        any_answer_can_be_looked_at_and_kept,
        any_reply_has_a_class,
        a_token_names_only_meters_that_are_in_it,
        any_text_is_a_token_or_none,
        a_recorded_file_is_read_or_named_with_its_line,
    )
}
