"""What Home Assistant is told, what it refuses, and the one line that says what to do."""

from __future__ import annotations

import json
import logging
import re
import socket
from contextlib import suppress
from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support.canned_server import CUT, answer, canned_server
from tests.support.certificates import make_certificates
from tests.support.fakes import memory_measures
from tests.support.home_assistant_server import TOKEN, HomeAssistantServer, home_assistant_server
from tests.support.statistic_homes import ACCOUNT, NOW, StatisticHome, hours_of
from worker.domain.series import Series
from worker.domain.statistics import STATISTICS
from worker.errors import NotDelivered, WorkerError
from worker.outputs.home_assistant import KIND, HomeAssistant, statistic_id
from worker.outputs.home_assistant_socket import HomeAssistantAddress, HomeAssistantSession, parse_address
from worker.outputs.output import OutputAccount, OutputOptions, OutputParts, OutputRefused

pytestmark = pytest.mark.sockets
DAY = date(2026, 11, 24)


def failure_of(home: StatisticHome, server: HomeAssistantServer) -> WorkerError:
    """Return the error of a delivery, after a look at its text."""
    with pytest.raises(WorkerError) as caught:
        home.output(server).send([home.put_day(Series.DAILY, DAY, 7312)])
    text = str(caught.value)
    assert "\n" not in text and TOKEN not in text and "7.312" not in text
    return caught.value


def test_the_message_is_the_one_that_2026_11_takes() -> None:
    home = StatisticHome()
    with home_assistant_server() as server:
        home.output(server).send([home.put_day(Series.DAILY, DAY, 7312)])

    imported = [message for message in server.messages if message["type"] == "recorder/import_statistics"]
    assert imported == [
        {
            "id": 3,
            "type": "recorder/import_statistics",
            "metadata": {
                "has_sum": True,
                "mean_type": 0,
                "unit_class": "energy",
                "name": "Electricity consumption (home)",
                "source": "releve",
                "statistic_id": "releve:home_consumption",
                "unit_of_measurement": "kWh",
            },
            "stats": [{"start": "2026-11-23T23:00:00+00:00", "state": 7.312, "sum": 7.312}],
        }
    ]


def test_a_home_assistant_of_before_2025_11_is_told_has_mean() -> None:
    home = StatisticHome()
    with home_assistant_server(version="2025.10.4") as server:
        home.output(server).send([home.put_day(Series.DAILY, DAY, 7312)])

    assert server.metadata["releve:home_consumption"]["has_mean"] is False


def test_a_check_says_what_was_reached_and_writes_nothing() -> None:
    with home_assistant_server() as server:
        assert StatisticHome().output(server).check() == "Home Assistant 2026.11.0 accepts the token"

    assert not server.rows


def test_what_is_written_late_is_waited_for_also_where_no_sum_at_an_end_changes() -> None:
    home = StatisticHome()
    with home_assistant_server() as server:
        home.output(server).send([home.put_day(Series.DAILY, DAY, 7312)])
        server.reads_until_written = 3
        home.output(server).send([home.put_hours(Series.LOAD_CURVE, {hours_of(DAY)[23]: 1000})])

    states = [row.state for _, row in sorted(server.rows["releve:home_consumption"].items())]
    assert (states[0], states[-1], server.reads_until_written) == (6.312, 1.0, 0)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"version": "2022.7.7"}, OutputRefused, "2022.7.7 is too old"),
        ({"version": "soon"}, OutputRefused, "does not report its version"),
        ({"is_admin": False}, OutputRefused, "not an administrator"),
        ({"has_recorder": False}, OutputRefused, "without its recorder"),
        ({"state": "STARTING"}, NotDelivered, "still starting"),
        ({"closes_after": 0}, NotDelivered, "closed the connection"),
        ({"reads_until_written": 99}, NotDelivered, "has not written them yet"),
        ({"greeting": "hello"}, OutputRefused, "not Home Assistant"),
        ({"greeting": json.dumps(["a", "list"])}, OutputRefused, "not Home Assistant"),
        ({"greeting": json.dumps({"type": "welcome"})}, OutputRefused, "not Home Assistant"),
    ],
)
def test_each_failure_is_one_clear_line(options: dict[str, Any], kind: type[WorkerError], words: str) -> None:
    with home_assistant_server(**options) as server:
        error = failure_of(StatisticHome(), server)

    assert type(error) is kind
    assert words in str(error)


def test_a_wrong_token_is_refused_with_what_to_do() -> None:
    with home_assistant_server() as server:
        address = HomeAssistantAddress(parse_address(server.url), "another")
        with pytest.raises(OutputRefused, match="refuses the token: create a long-lived access token"):
            HomeAssistant(address, "fr", memory_measures(), lambda: NOW).check()


def test_one_that_never_comes_to_the_answer_does_not_hold_the_delivery_up() -> None:
    class Chatter:
        def send(self, message: str) -> None:
            pass

        def recv(self, timeout: float) -> str:
            return '{"type": "event", "id": 99}'

    session = HomeAssistantSession(Chatter(), 0.01, "2026.11.0")  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        session.call("get_config")


def test_one_that_is_away_is_tried_again() -> None:
    with home_assistant_server() as server:
        pass
    assert isinstance(failure_of(StatisticHome(), server), NotDelivered)


@pytest.mark.parametrize(
    ("answered", "kind"),
    [(answer(200, "fine"), OutputRefused), (answer(404, "no"), OutputRefused), (answer(502, ""), NotDelivered)],
)
def test_another_server_is_no_home_assistant(answered: Any, kind: type[WorkerError]) -> None:
    with canned_server(answered) as server:
        assert type(failure_of(StatisticHome(), HomeAssistantServer(url=server.url))) is kind


def test_a_connection_that_is_cut_in_the_greeting_is_tried_again() -> None:
    with canned_server(CUT) as server:
        assert isinstance(failure_of(StatisticHome(), HomeAssistantServer(url=server.url)), NotDelivered)


def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = make_certificates(tmp_path)
    home = StatisticHome()
    with home_assistant_server(certificates.server_context()) as server:
        error = failure_of(home, server)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        home.output(server).check()

    assert isinstance(error, OutputRefused)
    assert "certificate of Home Assistant is not trusted" in str(error)


def test_tls_to_a_port_without_it_says_to_write_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_in_plain_text() -> None:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(4096)

        thread = Thread(target=answer_in_plain_text)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        error = failure_of(StatisticHome(), HomeAssistantServer(url=url))
        thread.join()

    assert isinstance(error, OutputRefused)
    assert "write http://" in str(error)


def test_a_tls_connection_that_is_cut_is_tried_again() -> None:
    with home_assistant_server() as server:
        cut = HomeAssistantServer(url=server.url.replace("http:", "https:"))
        assert isinstance(failure_of(StatisticHome(), cut), NotDelivered)


def test_a_name_of_a_private_network_is_called_in_a_fleet_too(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *others, **options: resolve("127.0.0.1", *others, **options)
    )
    with home_assistant_server() as server:
        url = server.url.replace("127.0.0.1", "homeassistant.example")
        assert build(OutputOptions(url, TOKEN)).check()
    assert server.messages


def test_the_token_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    home = StatisticHome()
    with caplog.at_level(logging.DEBUG), home_assistant_server() as server:
        home.output(server).send([home.put_day(Series.DAILY, DAY, 7312)])
        said = [record.getMessage() for record in caplog.records if "server" not in record.name]

    assert not [line for line in said if TOKEN in line or "7.312" in line]
    assert TOKEN not in repr(home.output(server))


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("http://homeassistant.local:8123", "ws://homeassistant.local:8123/api/websocket"),
        ("https://ha.example/", "wss://ha.example/api/websocket"),
        (" http://[fd00::1]:8123 ", "ws://[fd00::1]:8123/api/websocket"),
        ("ws://homeassistant.local:8123", "ws://homeassistant.local:8123/api/websocket"),
        ("ws://supervisor/core/websocket", "ws://supervisor/core/websocket"),
    ],
)
def test_the_address_is_that_of_the_pages_or_of_the_websocket(typed: str, url: str) -> None:
    assert parse_address(typed) == url


@pytest.mark.parametrize(
    "typed",
    [
        "homeassistant.local:8123",
        "ftp://ha",
        "http://",
        "http://ha:99999",
        "http://ha:x",
        "http://ha/?a=1",
        "http://[::",
    ],
)
def test_another_address_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(ValueError, match=r"http://homeassistant\.local:8123"):
        parse_address(typed)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="not contain a user name or password") as caught:
        parse_address("http://me:secret@ha:8123")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("label", ["home", "k9x4w", "Chez_Nous__2", "_a-b_"])
def test_identifiers_have_the_form_that_home_assistant_takes(label: str) -> None:
    account = OutputAccount(id="k9x4w", label=label)
    for statistic in STATISTICS:
        identifier = statistic_id(account, statistic)
        assert re.fullmatch(r"(?!.+__)(?!_)[\da-z_]+(?<!_):(?!_)[\da-z_]+(?<!_)", identifier), identifier


def build(options: OutputOptions) -> HomeAssistant:
    output = KIND.build(options, OutputParts(measures=memory_measures(), now=lambda: NOW))
    assert isinstance(output, HomeAssistant)
    return output


def test_the_kind_builds_an_output_of_its_options() -> None:
    with home_assistant_server() as server:
        output = build(OutputOptions(server.url, TOKEN, {"language": "en"}))
        output.check()

    assert output.language == "en"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (OutputOptions("http://ha:8123"), "long-lived access token is needed"),
        (OutputOptions("ha", TOKEN), "http://HOST:8123"),
        (OutputOptions("http://ha:8123", TOKEN, {"language": "de"}), "fr or en"),
    ],
)
def test_wrong_options_are_one_clear_line(options: OutputOptions, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(options)


def test_an_add_on_uses_the_token_that_it_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERVISOR_TOKEN", "of-this-start")

    assert build(OutputOptions("ws://supervisor/core/websocket", "of-before")).address.token == "of-this-start"
    assert build(OutputOptions("http://ha:8123", "its-own")).address.token == "its-own"


def test_an_account_is_named_by_its_label() -> None:
    assert statistic_id(ACCOUNT, STATISTICS[0]) == "releve:home_consumption"
