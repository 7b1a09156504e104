"""Traces of a run with failures: each joins request, tasks, supplier and stores, and no span tells more than it may.

The receiver of the traces keeps each byte that web and workers send. The supplier and the receivers of webhooks keep
the headers that they get.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from starlette.types import Receive, Scope, Send

from simulator.application import create_app
from simulator.switches import SimulatorOptions
from tests.support import servers
from tests.support.canned_server import CannedServer, answer, canned_server
from tests.support.factories import NOW
from tests.support.operators import PASSWORD, add_operator
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan, otlp_receiver
from tests.support.simulators import run_in_background
from tests.support.system import NO_QUOTA, QUICK_START, System, until
from tests.support.waiting import DEADLINE_S
from worker.domain.series import Series
from worker.domain.sessions import KeyKind
from worker.logs import written_forms
from worker.stores.child_processes import free_port
from worker.stores.encryption import generate_key
from worker.web.dependencies import OPERATOR_COOKIE

GOOD, REFUSED, SILENT, ODD, FOREIGN = (f"9876543210980{digit}" for digit in range(1, 6))
YESTERDAY, WATT_HOURS = "2024-07-24", 739193918
HOLDER, MAIL = "Jeanne Canary", "canary@household.example"
PAYLOAD = "canary of a payload"
SECRETS = {
    "ENEDIS_CLIENT_SECRET": "canary/client+secret",
    "SESSION_KEY": "canary-session-key-0123456789abcdef",
    "WEBHOOK_SECRET": "canary-webhook-secret-of-some-length",
}
REDIS_PASSWORD, COUCH_PASSWORD, COLLECTOR_KEY = "canary-redis", "canary-couch-password", "canary-collector-key"
FOREIGN_TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACE_HEADERS = {
    "traceparent": f"00-{FOREIGN_TRACE}-b7ad6b7169203331-01",
    "tracestate": "a=canary",
    "baggage": "b=canary",
}
STEPS = [f"tasks.pipeline.{step}" for step in ("fetch", "filter_known", "aggregate", "store")]
RESOURCE = {"service.name", "service.version", "service.instance.id"}
# Written here once more, so that a name that is added to the product is seen by whoever adds it.
ATTRIBUTES = {
    *("http.request.method", "http.route", "http.response.status_code"),
    *("releve.run", "releve.chain", "releve.series", "releve.supplier", "releve.api", "releve.status"),
    *("releve.operation", "releve.outcome", "releve.error", "releve.tries", "releve.wait_s"),
}
INNER = {"supplier call", "supplier request", "quota permit", "measures", "registry"}


@dataclass
class Run:
    """What was sent in the run. ``headers``: the names that supplier and webhooks got. ``marks``: must be nowhere."""

    system: System
    receiver: OtlpReceiver
    marks: dict[str, str]
    headers: set[str] = field(default_factory=set)
    account: str = ""
    log_without_collector: Path = Path()

    def trace_of(self, span: ReceivedSpan) -> list[ReceivedSpan]:
        return [one for one in self.receiver.spans if one.trace == span.trace]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with ExitStack() as opened, pytest.MonkeyPatch.context() as patch:
        receiver = opened.enter_context(otlp_receiver())
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-key={COLLECTOR_KEY}")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"host.name=canary-host,mail={MAIL}")
        patch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
        redis_url = opened.enter_context(servers.redis_server())
        notices = opened.enter_context(canned_server(*[answer(204, "")] * 20))
        settings = {
            "PRESET": "enedis-2026",
            "PRETEND_NOW": NOW.isoformat(),
            "HISTORY_LOAD_DAYS": "7",
            "TOKEN_KEYS": generate_key(),
            "PUBLIC_URL": f"http://127.0.0.1:{free_port()}",
            "WEBHOOK_URL": notices.url,
            "NOTIFY_LANGUAGE": "en",
            **NO_QUOTA,
            **SECRETS,
        }
        system = System(tmp_path_factory.mktemp("tracing"), redis_url, settings, opened)
        marks = {**SECRETS, "keys": settings["TOKEN_KEYS"], "couch": COUCH_PASSWORD, "operator": PASSWORD}
        marks |= {f"meter {meter[-1]}": meter for meter in (GOOD, REFUSED, SILENT, ODD, FOREIGN)}
        marks |= {"payload": PAYLOAD, "holder": HOLDER, "mail": MAIL, "day": str(WATT_HOURS), "key": COLLECTOR_KEY}
        marks |= {"host": "canary-host", "kWh": f"{WATT_HOURS / 1000:.3f}", "supplier": system.settings["ENEDIS_URL"]}
        run = Run(system, receiver, marks)
        serve_supplier(run, opened)
        run_cases(run, notices)
        run_unreachable_store(run)
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://canary:{COLLECTOR_KEY}@127.0.0.1:{free_port()}")
        run_without_collector(run)
        for headers in notices.headers:
            run.headers |= headers.keys()
        yield run


def serve_supplier(run: Run, opened: ExitStack) -> None:
    simulator = create_app(SimulatorOptions(pretend_now=NOW, client_id=None, client_secret=""))

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/__sim__/"):
            run.headers |= {name.decode().lower() for name, _ in scope["headers"]}
        await simulator(scope, receive, send)

    port = int(run.system.settings["ENEDIS_URL"].rpartition(":")[2])
    opened.enter_context(run_in_background(noting, port))


def run_cases(run: Run, notices: CannedServer) -> None:
    """Add accounts through the API, of meters that the supplier answers well, refuses, or fails to answer."""
    system = run.system
    address = system.start_web()
    log = system.start_worker(*QUICK_START)
    system.switch(GOOD, corrections=[{"day": YESTERDAY, "wh": WATT_HOURS}])
    system.switch(REFUSED, refusal="ADAM-DC-0008")
    for meter, status in ((SILENT, 500), (ODD, 200)):
        body = {"usage_point_id": meter, "said": PAYLOAD}
        system.simulator(
            "POST", "faults", {"path": "", "usage_point": meter, "count": None, "status": status, "body": body}
        )
    scopes = [word for scope in ("read:accounts", "write:accounts", "read:measures") for word in ("--scope", scope)]
    token = system.query("access", "add-token", "--name", "canary", *scopes)["token"]
    run.marks["token"] = token
    accounts = {}
    for meter in (GOOD, REFUSED, SILENT, ODD):
        body = {"usage_point": meter, "reference": HOLDER, "consented_on": "2024-07-01"}
        added = call(address, "POST", "/api/accounts", token, json=body, headers=TRACE_HEADERS)
        assert added.status_code == 201, added.text
        accounts[meter] = added.json()["account"]
    run.account = accounts[GOOD]
    run_bad_requests(address, token)
    output = ("outputs", "add", "webhook", "--url", notices.url, "--secret-file", str(system.folder / "secret"))
    (system.folder / "secret").write_text(SECRETS["WEBHOOK_SECRET"])
    system.query(*output, "--account", run.account)
    system.wait_loaded(run.account)
    for meter in (REFUSED, ODD):
        until(lambda meter=meter: is_failed(system, accounts[meter]), f"the failure of {meter}")
    until(lambda: "SupplierFault" in log.read_text(), "the silent supplier")
    sync_from_page(system, address, run.account)
    until(lambda: named(run, "tasks.nightly.sync_account"), "the span of the operator's sync")
    delivered = len(notices.bodies)
    system.send_task("tasks.upkeep.deliver_due_outputs")
    system.send_task("tasks.upkeep.deliver_due_notices")
    until(lambda: len(notices.bodies) > delivered, "a call of the webhook")
    system.stop("worker")
    system.stop("web")


def run_bad_requests(address: str, token: str) -> None:
    for method, path, secret in (
        ("GET", "/api/accounts", f"{token}x"),
        ("GET", f"/api/accounts/{GOOD}/measures?reference={HOLDER}&mail={MAIL}", token),
        ("GET", f"/api/{FOREIGN}?usage_point={FOREIGN}", token),
        (GOOD, "/api/accounts", token),
        ("POST", f"/invitation/{MAIL}", token),
        ("GET", f"/callback/enedis?code={FOREIGN}&state={MAIL}", ""),
    ):
        answered = call(address, method, path, secret, headers=TRACE_HEADERS)
        assert answered.status_code >= 400, path


def run_unreachable_store(run: Run) -> None:
    """Sync with a worker whose measure store can't be reached, in a process of its pool."""
    store = f"couchdb+http://releve:{COUCH_PASSWORD}@127.0.0.1:{free_port()}/"
    log = run.system.start_worker(*QUICK_START, "-c", "1", app="tests.acceptance.prefork", MEASURES_URL=store)
    run.system.send_task("tasks.nightly.sync_account", run.account, "by-hand")
    until(lambda: "StoreUnavailable" in log.read_text(), "the store that is not there")
    run.system.stop("worker")


def run_without_collector(run: Run) -> None:
    """Sync while nothing listens at the collector's address."""
    before = run.system.logs().count("window stored")
    run.log_without_collector = run.system.start_worker(*QUICK_START)
    run.system.send_task("tasks.nightly.sync_account", run.account, "by-hand")
    until(lambda: run.system.logs().count("window stored") >= before + 2, "windows without a collector")
    run.system.stop("worker")


def call(address: str, method: str, path: str, token: str, **options: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}  # type: ignore[dict-item]
    return requests.request(method, address + path, headers=headers, timeout=DEADLINE_S, **options)  # type: ignore[arg-type]


def sync_from_page(system: System, address: str, account: str) -> None:
    """Press the button of an operator's page that requests the last days of an account again."""
    access = system.parts.access
    operator = add_operator(system.parts, second_factor=False)
    key, text = access.keys.create(KeyKind.OPERATOR_SESSION, operator.id, device="Firefox, Linux")
    answered = requests.post(
        f"{address}/operator/accounts/{account}/sync",
        {"csrf": access.signer.csrf_token(key.id)},
        cookies={OPERATOR_COOKIE: text},
        headers=TRACE_HEADERS,
        allow_redirects=False,
        timeout=DEADLINE_S,
    )
    assert answered.status_code == 303, answered.text


def is_failed(system: System, account: str) -> bool:
    return system.parts.stores.windows.task_state(account, Series.DAILY.value).get("state") == "failed"


def named(run: Run, name: str) -> list[ReceivedSpan]:
    return [span for span in run.receiver.spans if span.name == name]


def test_one_trace_joins_the_page_to_the_tasks_the_supplier_and_the_stores(run: Run) -> None:
    (page,) = named(run, "POST /operator/accounts/{account_id}/sync")
    spans = {span.id: span for span in run.trace_of(page)}
    assert not page.parent, "a trace that a stranger began"

    def chain_up(span: ReceivedSpan) -> list[str]:
        return [span.name, *(chain_up(spans[span.parent]) if span.parent else [])]

    ways = {tuple(reversed(chain_up(span))) for span in spans.values()}
    begin = (page.name, "tasks.nightly.sync_account")
    assert (*begin, STEPS[0], "supplier call", "supplier request") in ways
    assert (*begin, *STEPS[:2], "measures") in ways
    assert (*begin, *STEPS, "registry") in ways
    assert {span.service for span in spans.values()} == {"releve-web", "releve-worker"}


def test_a_history_has_a_trace_for_each_window(run: Run) -> None:
    stored = [span for span in named(run, STEPS[3]) if span.attributes["releve.outcome"] == "done"]
    assert len({span.attributes["releve.run"] for span in stored}) == len(stored) > 4
    for span in stored:
        assert len([one for one in run.trace_of(span) if one.name == STEPS[3]]) <= 2, "two series that a request began"


def test_what_a_task_of_beat_sends_begins_traces_of_its_own(run: Run) -> None:
    (started,) = (span for span in named(run, "tasks.nightly.sync_account") if not span.parent)
    sent = [
        span for span in named(run, STEPS[0]) if span.attributes["releve.chain"] == started.attributes["releve.chain"]
    ]
    assert sent and not any(span.trace == started.trace for span in sent)


def test_spans_tell_outcomes_and_kinds_of_errors(run: Run) -> None:
    told = {
        (span.name, span.attributes.get("releve.outcome"), span.attributes.get("releve.error"))
        for span in run.receiver.spans
    }
    assert ("supplier call", "data", None) in told
    assert (STEPS[0], "retry", "supplier_unavailable") in told
    assert (STEPS[0], "failed", "data_error") in told
    assert (STEPS[1], "retry", "store_unavailable") in told
    assert {span.is_error for span in run.receiver.spans if "releve.error" in span.attributes} == {True}
    statuses = {span.attributes.get("http.response.status_code") for span in run.receiver.spans}
    assert {"201", "303", "401", "404"} <= statuses


def test_no_byte_tells_a_secret_a_meter_a_reading_a_person_an_address_or_an_exception(run: Run) -> None:
    assert len(run.receiver.bodies) >= 4 and run.receiver.refused == []
    text = b"\n".join(run.receiver.bodies).decode("latin-1")
    assert [name for name, mark in run.marks.items() if any(form in text for form in written_forms(mark))] == []
    for word in ("127.0.0.1", "http:", "SELECT", "UPDATE", "Error", "Unavailable", "Fault", "canary", run.account):
        assert word not in text, word


def test_the_search_would_find_each_mark(run: Run) -> None:
    """Without this, the test above would prove nothing."""
    sent = "\n".join([*run.marks.values(), f"{run.account} http://127.0.0.1"])
    assert all(any(form in sent for form in written_forms(mark)) for mark in run.marks.values())
    assert {"store_unavailable", "supplier_unavailable"} <= {
        span.attributes.get("releve.error") for span in run.receiver.spans
    }


def test_a_span_has_only_names_and_attributes_of_the_list(run: Run) -> None:
    assert {frozenset(pair.key for pair in one.resource.attributes) for one in run.receiver.resources} == {
        frozenset(RESOURCE)
    }
    spans = run.receiver.spans
    assert {name for span in spans for name in span.attributes} == ATTRIBUTES
    assert {tuple(span.more) for span in spans} == {()}
    own = {span.name for span in spans if span.service == "releve-worker" and not span.name.startswith("tasks.")}
    assert own <= INNER
    of_web = {span.name for span in spans if "http.request.method" in span.attributes}
    assert "POST /api/accounts" in of_web and {"GET", "_OTHER"} & of_web
    assert not [name for name in of_web if any(letter.isdigit() for letter in name)]


def test_no_header_of_a_trace_leaves_for_the_supplier_or_a_webhook(run: Run) -> None:
    assert {"authorization", "x-releve-signature"} <= run.headers
    assert not {"traceparent", "tracestate", "baggage"} & run.headers


def test_without_its_collector_a_worker_works_and_says_so_once(run: Run) -> None:
    text = run.log_without_collector.read_text()
    assert text.count("window stored") >= 2
    assert text.count("traces are not sent") == 1
    assert COLLECTOR_KEY not in text and "Traceback" not in text
