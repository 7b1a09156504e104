"""The delivery to outputs: a real registry, store, Redis and receiver, and outputs that fail in each way."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import tasks.upkeep
from tests.support.canned_server import CUT, SILENT, CannedServer, answer, canned_server
from tests.support.delivery_threads import join_deliveries
from tests.support.factories import NOW
from tests.support.how_to import NEW_FILE, read_page
from tests.support.installation import Installation
from tests.support.parts import Parts, use_parts
from tests.support.registries import METER, OTHER_METER, add_ready
from worker.clients.http_calls import SIGNATURE_HEADER
from worker.domain.documents import Entry, start_of, to_document
from worker.domain.messages import ChangedPart
from worker.domain.notice import NoticeKind
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, local_midnight
from worker.errors import NotDelivered, StoreUnavailable, UnexpectedError
from worker.outputs.delivery import OutputDelivery
from worker.outputs.kinds import KINDS
from worker.outputs.output import Change, OutputKind, OutputOptions, OutputParts, OutputRefused
from worker.outputs.webhook import MeasuresWebhook
from worker.runtime.consent_parts import erase

SECRET = "between us and the receiver of measures"
SCHEMA = Draft202012Validator(json.loads(Path("docs/reference/measures-webhook.schema.json").read_text("utf-8")))
TAKEN = answer(204, "")
DAYS = [date(2024, 7, 1) + number * ONE_DAY for number in range(20)]


@dataclass
class ScriptedOutput:
    """An output that raises the errors of ``fails`` first, and keeps what it is sent."""

    fails: list[Exception] = field(default_factory=list)
    refused_account: str = ""
    sent: list[Change] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def check(self) -> str:
        return "there"

    def send(self, changes: Sequence[Change]) -> None:
        if self.fails:
            raise self.fails.pop(0)
        if changes[0].account.id == self.refused_account:
            raise OutputRefused("this account is not known there")
        self.sent += changes
        self.meanwhile()


@dataclass
class Fleet:
    """A parts with scripted outputs, whose time the test sets."""

    parts: Parts
    delivery: OutputDelivery
    outputs: dict[str, ScriptedOutput] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.at = NOW
        kind = OutputKind(name="scripted", title="", url_help="", build=self._build, daily=True)
        self.parts.stores.registry.outbox._now = lambda: self.at
        self.delivery = replace(self.delivery, kinds={**KINDS, "scripted": kind}, now=lambda: self.at)

    def _build(self, options: OutputOptions, parts: OutputParts) -> ScriptedOutput:
        return self.outputs[options.url]

    def add_output(self, output: ScriptedOutput, **scope: Any) -> str:
        name = str(len(self.outputs))
        self.outputs[name] = output
        return self.parts.stores.registry.outputs.insert("scripted", {"url": name}, self.at, **scope)

    def add_webhook(self, url: str) -> str:
        return self.parts.stores.registry.outputs.insert("webhook", {"url": url, "secret": SECRET}, self.at)

    def change(self, account_id: str, *days: int, series: Series = Series.DAILY) -> None:
        """Store a value for each of these days of July, and note it as a window does."""
        starts = [local_midnight(date(2024, 7, day)) for day in days]
        entries = [Entry(f"2024-07-{day:02}", 1_000_000 * day) for day in days]
        with self.parts.stores.registry.outbox.noting(account_id, series) as note:
            note(ChangedPart(min(starts), max(starts)))
            documents = [to_document(account_id, Doctype.DAY, entry, self.at) for entry in entries]
            self.parts.stores.measures.write({Doctype.DAY: documents})

    def deliver_due(self) -> int:
        return sum(
            self.delivery.deliver(output_id) for output_id in self.parts.stores.registry.outputs.list_due(self.at)
        )


@pytest.fixture
def fleet(installation: Installation) -> Iterator[Fleet]:
    with installation.open() as parts:
        yield Fleet(parts, parts.outputs)


def bodies_of(receiver: CannedServer) -> list[Any]:
    """Return the bodies that came, each valid, signed and without the meter's number."""
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        SCHEMA.validate(json.loads(body))
        fields = dict(part.split("=", 1) for part in headers[SIGNATURE_HEADER.lower()].split(","))
        mac = hmac.new(SECRET.encode(), f"{fields['t']}.".encode() + body, hashlib.sha256)
        assert hmac.compare_digest(mac.hexdigest(), fields["v1"])
        assert METER not in body.decode()
    return [json.loads(body) for body in receiver.bodies]


# The webhook of measures


def test_a_webhook_gets_whole_days_signed_and_without_the_meter(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry, METER)
    with canned_server(TAKEN) as receiver:
        fleet.add_webhook(receiver.url)
        fleet.change(account, 3, 5)
        assert fleet.deliver_due() == 1
        (body,) = bodies_of(receiver)
        assert body["readings"] == [
            {"start": "2024-07-03T00:00:00+02:00", "value": 3.0, "step": None},
            {"start": "2024-07-05T00:00:00+02:00", "value": 5.0, "step": None},
        ]
        about = ("account", "series", "unit", "from", "until")
        span = ("2024-07-03T00:00:00+02:00", "2024-07-06T00:00:00+02:00")
        assert tuple(body[name] for name in about) == (account, "daily", "kWh", *span)
        assert fleet.deliver_due() == 0 and len(receiver.bodies) == 1


def test_large_changes_go_in_batches_that_leave_no_moment_out(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    with canned_server(*[TAKEN] * 9) as receiver:
        webhook = MeasuresWebhook(
            url=receiver.url, secret=SECRET, measures=fleet.parts.stores.measures, most_readings=2
        )
        fleet.change(account, 3, 5, 6, 9)
        fleet.delivery = replace(fleet.delivery, kinds={"webhook": replace(KINDS["webhook"], build=lambda *_: webhook)})
        fleet.add_webhook(receiver.url)
        fleet.change(account, 2, 11)
        assert fleet.deliver_due() == 1
        bodies = bodies_of(receiver)
        assert [len(body["readings"]) for body in bodies] == [2, 2, 2]
        assert [body["from"] for body in bodies[1:]] == [body["until"] for body in bodies[:-1]]
        assert (bodies[0]["from"][:10], bodies[-1]["until"][:10]) == ("2024-07-02", "2024-07-12")


def test_the_same_state_has_the_same_id_and_an_emptied_day_is_told(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    with canned_server(*[TAKEN] * 5) as receiver:
        output = fleet.add_webhook(receiver.url)
        fleet.change(account, 3)
        fleet.deliver_due()
        fleet.parts.stores.registry.outbox.enqueue_all(output, local_midnight(date(2024, 7, 3)))
        fleet.parts.stores.registry.outputs.end_wait(output)
        fleet.deliver_due()
        fleet.parts.stores.measures.erase(account)
        with fleet.parts.stores.registry.outbox.noting(account, Series.DAILY) as note:
            note(ChangedPart(start_of("2024-07-03"), start_of("2024-07-03")))
        fleet.deliver_due()
        bodies = bodies_of(receiver)
        (first, *_), last = bodies, bodies[-1]
        assert last["readings"] == [] and last["id"] != first["id"]


@pytest.mark.parametrize(
    "reply, error, words",
    [
        (answer(401, ""), OutputRefused, "refuses the signature"),
        (answer(403, ""), OutputRefused, "status 403"),
        (answer(410, ""), OutputRefused, "is gone"),
        (answer(302, "", Location="/elsewhere"), OutputRefused, "redirects"),
        (answer(500, ""), NotDelivered, "status 500"),
        (answer(429, ""), NotDelivered, "status 429"),
        (CUT, NotDelivered, "ConnectionError"),
        (SILENT, NotDelivered, "ReadTimeout"),
    ],
)
def test_each_refusal_is_one_line_without_address_or_secret(
    fleet: Fleet, reply: Any, error: type[Exception], words: str
) -> None:
    with canned_server(reply, TAKEN) as receiver:
        url = receiver.url + "secret-path"
        webhook = MeasuresWebhook(url=url, secret=SECRET, measures=fleet.parts.stores.measures, timeouts_s=(1.0, 0.3))
        with pytest.raises(error, match=words) as caught:
            webhook.check()
        shown = str(caught.value) + repr(webhook)
        assert "secret-path" not in shown and SECRET not in shown
        assert len(receiver.requests) == 1


def test_a_name_of_a_private_network_is_called(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    with canned_server(TAKEN) as receiver:
        port = receiver.url.rstrip("/").rpartition(":")[2]
        url = f"http://receiver.example:{port}/"
        real = __import__("socket").getaddrinfo
        monkeypatch.setattr(
            "socket.getaddrinfo",
            lambda host, *rest, **options: real("127.0.0.1" if host == "receiver.example" else host, *rest, **options),
        )
        KINDS["webhook"].build(OutputOptions(url, SECRET), fleet.delivery.parts).check()
        assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "url, secret, words",
    [
        ("ftp://service.example", SECRET, "an https:// URL"),
        ("https://service.example", "short", "32 characters"),
    ],
)
def test_options_that_could_be_read_or_forged_are_refused(fleet: Fleet, url: str, secret: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KINDS["webhook"].build(OutputOptions(url, secret), fleet.delivery.parts)


# A further output


def test_the_output_of_the_page_is_one_file(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, source),) = NEW_FILE.findall(read_page("add-an-output.md"))
    module: dict[str, Any] = {"__name__": "worker.outputs.file"}
    monkeypatch.setitem(
        sys.modules, "worker.outputs.file", ModuleType("worker.outputs.file")
    )  # dataclasses look there.
    exec(compile(source, "file.py", "exec"), module)
    fleet.delivery = replace(fleet.delivery, kinds={"file": module["KIND"]})
    folder = tmp_path / "changes"
    output = fleet.parts.stores.registry.outputs.insert("file", {"url": f"file://{folder}"}, fleet.at)
    account = add_ready(fleet.parts.stores.registry)
    fleet.change(account, 3, 5)
    assert fleet.deliver_due() == 0
    assert "can't be written" in fleet.parts.stores.registry.outputs.get(output).error
    folder.mkdir()
    fleet.at += timedelta(minutes=1)
    assert fleet.deliver_due() == 1
    written = (folder / f"{account}-daily.txt").read_text()
    assert written == "daily 2024-07-03T00:00:00+02:00 2024-07-05T00:00:00+02:00\n"


# The delivery


def test_a_receiver_that_is_away_for_a_week_gets_the_state_of_the_store(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    with canned_server(*[answer(503, "")] * 1000) as receiver:
        fleet.add_webhook(receiver.url)
        for day in range(1, 8):
            fleet.change(account, day)
            for _ in range(4):
                fleet.at += timedelta(hours=6)
                fleet.deliver_due()
        (state,) = fleet.parts.stores.registry.outputs.list_outputs()
        assert state.failing_since is not None and state.tries == 28 and state.waiting == 1
        assert state.error == "the receiver answers with status 503"
        receiver.script[:] = [TAKEN]
        receiver.bodies.clear(), receiver.headers.clear()
        fleet.at += timedelta(minutes=30)
        assert fleet.deliver_due() == 1
        (body,) = bodies_of(receiver)
        assert [reading["value"] for reading in body["readings"]] == [1, 2, 3, 4, 5, 6, 7]
        (state,) = fleet.parts.stores.registry.outputs.list_outputs()
        assert (state.failing_since, state.error, state.waiting) == (None, "", 0)


def test_an_operator_is_told_once_that_an_output_has_failed_for_a_day(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    output = fleet.add_output(ScriptedOutput([NotDelivered("away")] * 500))
    fleet.change(account, 1)
    for _ in range(8):
        fleet.at += timedelta(hours=6)
        fleet.deliver_due()
    notices = fleet.parts.stores.registry.notices
    (notice,) = [notices.claim(notice_id, fleet.at) for notice_id in notices.list_due(fleet.at)]
    assert notice is not None and notice.kind is NoticeKind.OUTPUT_FAILS and notice.about.startswith(f"{output}@")


def test_a_failing_output_stops_no_other_and_a_bug_of_one_tells_nothing_personal(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    account = add_ready(fleet.parts.stores.registry)
    broken = fleet.add_output(ScriptedOutput([KeyError(f"{METER} and {SECRET}")]))
    good = ScriptedOutput()
    fleet.add_output(good)
    fleet.change(account, 1)
    with caplog.at_level(logging.DEBUG):
        assert fleet.deliver_due() == 1
    state = fleet.parts.stores.registry.outputs.get(broken)
    assert state.code == UnexpectedError.code and "unexpected KeyError in test_outputs.py:" in state.error
    assert [change.account.id for change in good.sent] == [account]
    assert METER not in caplog.text + state.error and SECRET not in caplog.text + state.error


def test_an_account_that_is_refused_stops_no_other_account(fleet: Fleet) -> None:
    first, second = add_ready(fleet.parts.stores.registry, METER), add_ready(fleet.parts.stores.registry, OTHER_METER)
    output = ScriptedOutput(refused_account=first)
    fleet.add_output(output)
    for account in (first, second):
        fleet.at += timedelta(seconds=1)
        fleet.change(account, 1)
    fleet.at += timedelta(seconds=1)
    fleet.deliver_due()
    fleet.at += timedelta(minutes=1)
    fleet.deliver_due()
    assert {change.account.id for change in output.sent} == {second}
    (state,) = fleet.parts.stores.registry.outputs.list_outputs()
    assert state.waiting == 1 and "not known there" in state.error


def test_a_change_during_a_delivery_is_sent_again(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    output = ScriptedOutput()
    fleet.add_output(output)
    fleet.change(account, 1)

    def write_once() -> None:
        output.meanwhile = lambda: None
        fleet.change(account, 2)

    output.meanwhile = write_once
    assert fleet.deliver_due() == 2
    assert [change.last.day for change in output.sent] == [1, 2]


def test_one_worker_at_a_time_delivers_to_an_output(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    output = ScriptedOutput()
    output_id = fleet.add_output(output)
    fleet.change(account, 1)
    seen: list[int] = []
    output.meanwhile = lambda: seen.append(fleet.delivery.deliver(output_id))
    assert fleet.delivery.deliver(output_id) == 1
    assert seen == [0] and len(output.sent) == 1


def test_no_delivery_runs_while_an_output_is_made_to_forget(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    output = ScriptedOutput()
    state = fleet.parts.stores.registry.outputs.get(fleet.add_output(output))
    fleet.change(account, 1)
    able = replace(fleet.delivery.kinds["scripted"], forget=lambda options, parts, accounts: None)
    with replace(fleet.delivery, kinds={"scripted": able}).paused(state):
        assert fleet.deliver_due() == 0 and output.sent == []
    with fleet.delivery.paused(state):  # It keeps nothing, so a delivery does no harm.
        assert fleet.deliver_due() == 1


def test_a_store_that_is_away_is_no_fault_of_the_output(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    fleet.add_output(ScriptedOutput([StoreUnavailable("away")]))
    fleet.change(account, 1)
    with pytest.raises(StoreUnavailable):
        fleet.deliver_due()
    (state,) = fleet.parts.stores.registry.outputs.list_outputs()
    assert state.failing_since is None and state.waiting == 1
    assert fleet.deliver_due() == 1


def test_the_first_send_begins_with_the_first_reading_and_leaves_out_what_has_none(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    fleet.change(account, 4, 9)
    output = ScriptedOutput()
    output_id = fleet.add_output(output)
    assert fleet.parts.stores.registry.outbox.enqueue_all(output_id) == 2
    assert fleet.deliver_due() == 1
    (change,) = output.sent
    assert (change.series, change.first) == (Series.DAILY, start_of("2024-07-04"))
    assert change.last >= start_of("2024-07-09")
    assert fleet.parts.stores.registry.outputs.list_outputs()[0].waiting == 0


def test_the_tasks_of_beat_publish_one_delivery_for_each_output_that_is_due(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = add_ready(fleet.parts.stores.registry)
    output, idle = ScriptedOutput(), ScriptedOutput()
    output_id = fleet.add_output(output)
    fleet.add_output(idle, account_id=add_ready(fleet.parts.stores.registry, OTHER_METER))
    fleet.parts.__dict__["outputs"] = fleet.delivery  # In the place of the cached one.
    use_parts(monkeypatch, fleet.parts)
    published: list[tuple[str]] = []
    monkeypatch.setattr(
        tasks.upkeep.deliver_output, "apply_async", lambda args, expires: published.append(args) or expires
    )
    tasks.upkeep.deliver_due_outputs()
    assert published == []
    fleet.change(account, 1)
    tasks.upkeep.deliver_due_outputs()
    assert published == [(output_id,)]
    for _ in range(2):  # A doubled message sends nothing twice.
        tasks.upkeep.deliver_output(output_id)
        join_deliveries()
    assert [change.account.id for change in output.sent] == [account] and idle.sent == []
    tasks.upkeep.note_daily_outputs()
    tasks.upkeep.deliver_output(output_id)
    join_deliveries()
    assert len(output.sent) > 1


def test_an_account_that_was_removed_is_not_sent(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    output = ScriptedOutput()
    fleet.add_output(output)
    fleet.change(account, 1)
    erase(fleet.parts.stores, account)
    assert fleet.deliver_due() == 0 and output.sent == []


def test_figures_that_change_with_the_date_are_noted_daily(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    output = ScriptedOutput()
    fleet.add_output(output)
    fleet.add_webhook("https://service.example")
    assert fleet.delivery.note_daily() == 2
    assert fleet.deliver_due() == 2
    assert {(change.account.id, change.first.date()) for change in output.sent} == {(account, NOW.date() - ONE_DAY)}
    assert fleet.parts.stores.registry.outputs.list_outputs()[1].waiting == 0


def test_an_unknown_kind_or_a_wrong_option_is_recorded_in_one_line(fleet: Fleet) -> None:
    account = add_ready(fleet.parts.stores.registry)
    for kind, options in (("parquet", {"url": "x"}), ("webhook", {"url": "ftp://x", "secret": SECRET})):
        fleet.parts.stores.registry.outputs.insert(kind, options, fleet.at)
    fleet.change(account, 1)
    assert fleet.deliver_due() == 0
    errors = {state.kind: state.error for state in fleet.parts.stores.registry.outputs.list_outputs()}
    assert "has no kind of output" in errors["parquet"] and "https:// URL" in errors["webhook"]
