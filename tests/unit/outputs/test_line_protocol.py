"""The line protocol over HTTP: which path and credentials, batches, and one clear line for each refusal."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from tests.support.canned_server import CUT, CannedAnswer, answer, canned_server
from tests.support.fakes import memory_measures
from tests.support.line_parser import parse_lines
from tests.support.output_home import LAST, NOW, change_of, fill_home
from worker.domain.series import Series
from worker.errors import NotDelivered
from worker.outputs.line_protocol import LineProtocolOutput, build, to_target
from worker.outputs.output import OutputOptions, OutputParts, OutputRefused
from worker.stores.measures.measure_store import MeasureStore

TOKEN = "t0ken-of-influx"
DONE = answer(204, "")


def output_to(
    url: str, secret: str | None = None, measures: MeasureStore | None = None, **more: str
) -> LineProtocolOutput:
    measures = fill_home() if measures is None else measures
    return build(OutputOptions(url, secret, more), OutputParts(measures=measures, now=lambda: NOW))


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("secret", "more", "path", "authorization"),
    [
        (None, {}, "/write?precision=s", None),
        (None, {"database": "home"}, "/write?db=home&precision=s", None),
        ("pässword", {"database": "home", "user": "me"}, "/write?db=home&precision=s", "Basic bWU6cMOkc3N3b3Jk"),
        ("word", {"user": "me"}, "/write?precision=s", "Basic bWU6d29yZA=="),
        (TOKEN, {"bucket": "my home", "org": "o"}, "/api/v2/write?org=o&bucket=my+home&precision=s", f"Token {TOKEN}"),
        (TOKEN, {"bucket": "home"}, "/api/v2/write?bucket=home&precision=s", f"Token {TOKEN}"),
        (TOKEN, {"database": "home"}, "/api/v3/write_lp?db=home&precision=second", f"Bearer {TOKEN}"),
    ],
)
def test_the_options_say_which_server_it_is(
    secret: str | None, more: dict[str, str], path: str, authorization: str | None
) -> None:
    with canned_server(DONE) as server:
        output_to(server.url, secret, **more).send([change_of(Series.DAILY, LAST, LAST)])
        assert server.requests[0][:2] == ("POST", path)
        assert server.headers[0].get("authorization") == authorization
        assert [point.measurement for point in parse_lines(server.bodies[0])] == [
            "releve_day",
            "releve_month",
            "releve_year",
        ]


@pytest.mark.sockets
def test_lines_go_in_batches_of_five_thousand_and_in_smaller_ones_where_that_is_too_much() -> None:
    with canned_server(*[DONE] * 3) as server:
        output = output_to(server.url)
        assert output.most_lines == 5000
        replace(output, most_lines=150).send([change_of(Series.DAILY)])
        assert [len(parse_lines(body)) for body in server.bodies] == [150, 150, 17]
    with canned_server(answer(413, "too large"), answer(413, "too large"), *[DONE] * 3) as server:
        output_to(server.url).send([change_of(Series.DAILY)])
        assert [len(parse_lines(body)) for body in server.bodies] == [317, 158, 79, 79, 159]
        keys = [point.key for body in server.bodies[2:] for point in parse_lines(body)]
        assert len(set(keys)) == len(keys) == 317


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        (answer(401, "x"), OutputRefused, "refuses the credentials, or they may not write (status 401)"),
        (answer(403, "x"), OutputRefused, "refuses the credentials, or they may not write (status 403)"),
        (answer(404, "x"), OutputRefused, "no such database or bucket"),
        (answer(400, {"error": "field type conflict: wh"}), OutputRefused, "give Relève its own database"),
        (answer(400, {"error": "unable to parse 'releve_day,account=home1 …'"}), OutputRefused, "status 400"),
        (answer(413, "x"), OutputRefused, "even a single line"),
        (answer(302, "x", Location="https://elsewhere.example/"), OutputRefused, "redirects (status 302)"),
        (answer(503, "x"), NotDelivered, "answers with status 503"),
        (answer(429, "x", **{"Retry-After": "90"}), NotDelivered, "asks to wait"),
        (CUT, NotDelivered, "can't be reached: ConnectionError"),
    ],
)
def test_each_refusal_is_one_clear_line(reply: CannedAnswer, kind: type[Exception], says: str) -> None:
    with canned_server(*[reply] * 3) as server:
        output = output_to(server.url, TOKEN, bucket="home")
        with pytest.raises(kind) as caught:
            output.send([change_of(Series.MAX_POWER, LAST, LAST)])
    text = str(caught.value)
    assert says in text and "\n" not in text
    assert "home1" not in text and TOKEN not in text and TOKEN not in repr(output) and server.url not in repr(output)
    if isinstance(caught.value, NotDelivered) and "wait" in text:
        assert caught.value.retry_after_s == 90


@pytest.mark.sockets
def test_points_beyond_the_retention_are_dropped_by_the_server_and_the_rest_counts() -> None:
    reply = answer(400, {"error": "partial write: points beyond retention policy dropped=3"})
    with canned_server(reply, DONE) as server:
        replace(output_to(server.url), most_lines=200).send([change_of(Series.DAILY)])
        assert len(server.bodies) == 2


@pytest.mark.sockets
@pytest.mark.parametrize("reply", [DONE, answer(400, {"message": "writing requires points"})])
def test_a_check_writes_no_point(reply: CannedAnswer) -> None:
    with canned_server(reply) as server:
        assert "accepts data" in output_to(server.url, TOKEN, bucket="home").check()
        assert parse_lines(server.bodies[0]) == []
    with canned_server(answer(401, "x")) as server, pytest.raises(OutputRefused, match="credentials"):
        output_to(server.url, TOKEN, bucket="home").check()


@pytest.mark.sockets
def test_nothing_is_sent_where_nothing_is_stored() -> None:
    with canned_server(DONE) as server:
        output_to(server.url, measures=memory_measures()).send([change_of(Series.DAILY)])
        assert server.requests == []


@pytest.mark.sockets
def test_a_name_of_a_private_network_is_called_in_a_fleet_too(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def lead_home(host: str, *others: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "influx.example" else host, *others, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lead_home)
    with canned_server(DONE) as server:
        options = OutputOptions(server.url.replace("127.0.0.1", "influx.example"), TOKEN, {"bucket": "home"})
        assert build(options, OutputParts(measures=fill_home(), now=lambda: NOW)).check()


@pytest.mark.parametrize(
    ("url", "secret", "more", "says"),
    [
        ("influx:8086", None, {}, "https://HOST"),
        ("ftp://influx", None, {}, "https://HOST"),
        ("https://influx/write?db=home", None, {}, "without parameters"),
        ("https://me:word@influx", None, {}, "option user"),
        ("https://influx", "x", {"database": "a", "bucket": "b"}, "one of the two"),
        ("https://influx", None, {"bucket": "b"}, "needs a token"),
        ("https://influx", None, {"user": "b"}, "needs a password"),
        ("https://influx", "x", {}, "needs the option bucket"),
        ("https://influx", "t€", {"bucket": "b"}, "ASCII"),
        ("https://influx:no", None, {}, "[Pp]ort"),
    ],
)
def test_a_wrong_option_is_one_line(url: str, secret: str | None, more: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        to_target(OutputOptions(url, secret, more))
    assert "\n" not in str(caught.value)


@pytest.mark.sockets
def test_a_file_of_certificates_that_is_missing_is_named() -> None:
    with pytest.raises(OutputRefused, match="ca_file"):
        output_to("https://127.0.0.1:9", ca_file="/nowhere").check()
