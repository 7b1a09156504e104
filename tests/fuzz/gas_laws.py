"""Laws of gas that hold for any stream: one clear reason for each fault, bounded memory, and no energy from nowhere."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, cast

from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from tests.fuzz.mutations import mutated, mutated_bytes
from tests.support.factories import PretendSupplier, make_window_sync, memory_measures, window_job
from tests.support.gas_answers import METER, absent, day, done, ndjson, period, refusal, right
from tests.support.recordings import RECORDINGS
from worker.clients.answer_shapes import MAX_DEVIATIONS, find_deviations
from worker.clients.grdf.client import interpret
from worker.clients.grdf.consent import list_rights
from worker.clients.grdf.presets import ANSWER_SHAPES
from worker.clients.ndjson import StreamLimits, read_values
from worker.clients.supplier_session import Reply, SupplierSession
from worker.domain.answers import (
    AnswerKind,
    Deviation,
    RawAnswer,
    pack_raw_answers,
    to_masked,
    to_sample,
    unpack_raw_answers,
)
from worker.domain.documents import Entry, interval_of, to_entry
from worker.domain.messages import WindowResult
from worker.domain.parsing import parse
from worker.domain.parsing.values import parse_decimal, to_whole
from worker.domain.series import contract_series, daily_of, intervals_of, of_supplier
from worker.domain.windows import DateWindow
from worker.errors import MalformedAnswer, SupplierUnavailable, WorkerError

NOW: Final = datetime(2026, 10, 4, 9, 0, tzinfo=UTC)
WINDOW: Final = DateWindow(date(2024, 1, 1), date(2025, 1, 1))
DAILY, PUBLISHED, CONTRACT = daily_of(supplier="grdf"), intervals_of("grdf"), contract_series("grdf")
RECORDS: Final = [
    [day("2024-01-15", 33, volume_brut=3, index=(1204, 1207)), absent("2024-01-16"), day("2024-01-17", "540")],
    [day("2024-03-31", 0), day("2024-10-27", 11.42781), day("2024-10-27", 12), refusal("1000008")],
    [period("2024-01-01", "2024-01-03", 235), period("2024-01-03", "2024-02-01", 3541.5), done()],
    [period("2024-01-01", "2024-06-01", 900), period("2024-05-01", "2024-07-01", "700")],
    [refusal("1000014", "Le client titulaire a révoqué son consentement"), refusal(2000100)],
    [right(), right(state="Révoquée"), done()],
    [{"liste_acces": [right(), right()]}],
    [
        {
            "pce": {"id_pce": METER},
            "donnees_techniques": {"caracteristiques_compteur": {"frequence": "6M"}},
            "donnees_contractuelles": {"car": 9426, "date_mes": "2020-12-07"},
        }
    ],
]
_RECORDED: Final = [path.read_bytes() for path in sorted((RECORDINGS / "gas").glob("adict_*"))]
STREAMS: Final = [*map(ndjson, RECORDS), *_RECORDED, b"".join(ndjson(records)[:-1] for records in RECORDS), b"[]", b""]
_statuses = st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 409, 429, 500, 503])
_sizes = st.integers(1, 400)
_METER_IN_TEXT: Final = re.compile(r"(?<!\d)0990000000000\d")


def chunks_of(content: bytes, size: int) -> Iterator[bytes]:
    return (content[place : place + size] for place in range(0, len(content), size))


@given(mutated_bytes(STREAMS), _sizes)
def any_stream_gives_its_values_or_one_reason(content: bytes, size: int) -> None:
    streamed = read_values(chunks_of(content, size))
    assert streamed.fault is None or isinstance(streamed.fault, SupplierUnavailable | MalformedAnswer)
    whole = read_values([content])
    assert json.dumps(streamed.values) == json.dumps(whole.values) and str(streamed.fault) == str(whole.fault)
    assert not any(value in str(streamed.fault) for value in (METER, "Dupond", "dupond"))


@given(st.sampled_from(RECORDS), st.data())
def a_stream_that_is_cut_keeps_what_came_whole(records: list[Any], data: st.DataObject) -> None:
    content = ndjson(records)
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    streamed = read_values(chunks_of(cut, data.draw(_sizes)))
    assert list(streamed.values) == records[: len(streamed.values)]
    assert isinstance(streamed.fault, SupplierUnavailable) or cut.endswith((b"}", b"}\n"))
    doubled = read_values(chunks_of(content * 2, data.draw(_sizes)))
    assert (list(doubled.values), doubled.fault) == (records * 2, None)


@given(st.integers(0, 6_400), st.sampled_from([b"x", b" ", b"1", b"[", b'{"a":', b'\\"', b"\xc3\xa9"]), st.booleans())
def a_line_of_any_length_takes_bounded_memory(chunks: int, filling: bytes, in_text: bool) -> None:
    taken = 0

    def line() -> Iterator[bytes]:
        nonlocal taken
        yield ndjson(RECORDS[0]) + (b'{"a": "' if in_text else b'{"a": ')
        for _ in range(chunks):  # Up to 100 MB.
            taken += 1
            yield filling * (16_384 // len(filling))

    limits = StreamLimits()
    streamed = read_values(line(), limits)
    assert taken <= limits.value_bytes // 16_384 + 1
    assert list(streamed.values) == RECORDS[0] and streamed.fault is not None
    assert len(str(streamed.fault)) < 100


@given(mutated_bytes(STREAMS) | mutated(RECORDS).map(lambda records: json.dumps(records).encode()), _statuses)
@example(ndjson([{"liste_acces": [right(), right()]}]), 200)
def any_reply_of_grdf_has_a_class(content: bytes, status: int) -> None:
    streamed, reports = read_values([content]), list[Deviation]()
    reply = Reply(status, CaseInsensitiveDict(), b"" if status // 100 == 2 else content, streamed)
    texts = [repr(reply)]
    try:
        answer = interpret(reply, WINDOW.end, NOW, reports.append)
    except WorkerError as error:
        texts.append(str(error))
    else:
        assert (answer.payload is not None) == (answer.kind is AnswerKind.DATA)
        if answer.kind is AnswerKind.DATA:
            assert 200 <= status < 300
            records = answer.payload["records"]
            assert all(value in streamed.values for value in records)
            assert not any(word in json.dumps(records) for word in ("Dupond", "dupond@")) or not _is_whole(content)
        texts.append(repr(answer))
    texts += [f"{item!r}{item.place}{item.detail}{item.sample}" for item in reports]
    assert not any(_METER_IN_TEXT.search(text) for text in texts)


def _is_whole(content: bytes) -> bool:
    return content in STREAMS


@given(mutated(RECORDS), st.sampled_from(of_supplier("grdf")))
def gas_is_read_or_refused_and_no_energy_comes_from_nowhere(records: Any, series: Any) -> None:
    payload = records[0] if series.is_state and isinstance(records, list) and records else {"records": records}
    deviations = find_deviations(payload, ANSWER_SHAPES[series])
    assert len(deviations) <= MAX_DEVIATIONS
    assert not any(_METER_IN_TEXT.search(item.place + item.detail) for item in deviations)
    to_masked(to_sample(payload))
    (unpacked,) = unpack_raw_answers(pack_raw_answers([RawAnswer(series, NOW, WINDOW, [(WINDOW, payload)])]))
    try:
        parsed = parse(payload, series, WINDOW)
    except MalformedAnswer:
        assert deviations, "what is refused is told"
        return
    assert parse(unpacked.pieces[0][1], series, WINDOW) == parsed
    sent = Counter(_numbers_in(payload))
    for reading in parsed.readings:
        assert reading.amount in sent or (series.is_state and reading.amount == 0)
    if series.is_state:
        return
    assert all(times <= sent[amount] for amount, times in Counter(item.amount for item in parsed.readings).items())
    ends = [(item.start.astimezone(UTC), item.start.astimezone(UTC) + item.length) for item in parsed.readings]
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(ends))


@given(mutated(RECORDS[:4]), mutated(RECORDS[:4]), st.sampled_from([DAILY, PUBLISHED]))
def gas_is_kept_from_the_answers_to_the_totals(first: Any, second: Any, series: Any) -> None:
    measures, reports = memory_measures(), list[WindowResult]()
    for records in (first, second, second):
        supplier = PretendSupplier(others={series: {"records": records}})
        try:
            reports.append(make_window_sync(supplier, measures).sync_window(window_job(WINDOW, series)))
        except MalformedAnswer:
            continue
        entries: list[Entry] = [to_entry(item) for item in measures[series.inputs].read("home1", "0", "~")]
        total = sum(entry.amount for entry in entries)
        for doctype in series.totals:
            assert total == sum(to_entry(item).amount for item in measures[doctype].read("home1", "0", "~"))
        if series.has_intervals:
            spans = sorted(map(interval_of, entries))
            assert all(one.end <= other.start for one, other in itertools.pairwise(spans))
    if len(reports) > 1:  # The second one was read, and read again.
        assert (reports[-1]["created"], reports[-1]["updated"], reports[-1]["removed"]) == (0, 0, 0)


class _Session:
    """A session whose supplier answers with this stream."""

    def __init__(self, content: bytes, status: int) -> None:
        body = b"" if status // 100 == 2 else content
        self.reply = Reply(status, CaseInsensitiveDict(), body, read_values([content]))

    def post(self, path: str, body: Any, read: Any, limits: Any) -> Any:
        return read(self.reply)


@given(mutated_bytes(STREAMS) | mutated(RECORDS).map(lambda records: json.dumps(records).encode()), _statuses)
def any_list_of_rights_is_read_or_refused(content: bytes, status: int) -> None:
    try:
        rights = list_rights(cast(SupplierSession, _Session(content, status)), [METER])
    except WorkerError as error:
        assert METER not in str(error)
        return
    assert all(record.meter == METER and record.id for record in rights)
    assert not any(word in repr(rights) for word in (METER, "Dupond", "dupond", "99099", "0600000000"))


def _numbers_in(value: Any) -> Iterator[int]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers_in(inner)
    elif (number := parse_decimal(value)) is not None:
        yield to_whole(number * Decimal(10**6))


GAS_LAWS: Final = {
    law.__name__: law
    for law in (
        any_stream_gives_its_values_or_one_reason,
        a_stream_that_is_cut_keeps_what_came_whole,
        a_line_of_any_length_takes_bounded_memory,
        any_reply_of_grdf_has_a_class,
        gas_is_read_or_refused_and_no_energy_comes_from_nowhere,
        gas_is_kept_from_the_answers_to_the_totals,
        any_list_of_rights_is_read_or_refused,
    )
}
