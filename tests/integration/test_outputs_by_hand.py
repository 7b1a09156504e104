"""`releve outputs`, and what status, explain and doctor say of outputs."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.canned_server import answer, canned_server
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.registries import METER, add_ready
from worker.domain.messages import ChangedPart
from worker.domain.series import Series
from worker.outputs.output import OutputOptions

SECRET = "between us and the receiver of measures"
TAKEN = answer(204, "")
URL = "https://service.example/secret-path"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\n"))


@pytest.fixture
def account(installation: Installation) -> str:
    with installation.open() as parts:
        return add_ready(parts.stores.registry, METER)


def test_an_output_is_tried_stored_listed_sent_again_and_removed(
    installation: Installation, account: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    with canned_server(TAKEN, TAKEN) as receiver:
        said = installation.query(
            "outputs", "add", "webhook", "--url", receiver.url, "--secret-file", str(file), "--account", account
        )
        assert (said["check"], said["series"]) == ("the receiver accepts signed requests", 2)
        tested = installation.releve("outputs", "test", said["id"])
        assert "accepts signed requests" in tested.out
        assert [request[2]["kind"] for request in receiver.requests] == ["test", "test"]
    (row,) = installation.query_rows("outputs", "list")
    assert (row["id"], row["kind"], row["account_id"], row["waiting"]) == (said["id"], "webhook", account, 1)
    listed = installation.releve("outputs", "list").out + str(row)
    assert SECRET not in listed and receiver.url not in listed
    with installation.open() as parts:
        options = OutputOptions(**parts.stores.registry.outputs.load_options(said["id"]))
        assert (options.url, options.secret, options.more) == (receiver.url, SECRET, {})
    assert installation.query("outputs", "resend", said["id"], "--from", "2024-01-01")["series"] == 2
    refused = installation.run("outputs", "remove", said["id"])
    assert refused.code != 0 and "give --yes" in refused.error_line
    assert installation.query("outputs", "remove", said["id"], "--yes") == {"id": said["id"], "waiting": 1}
    assert "no outputs yet" in installation.releve("outputs", "list").out
    entries = {(row["action"], row["subject"]) for row in installation.query_rows("audit")}
    assert entries >= {(f"output.{verb}", said["id"]) for verb in ("add", "resend", "remove")}


@pytest.mark.parametrize("reply, words", [(answer(401, ""), "refuses the signature"), (answer(503, ""), "status 503")])
def test_what_can_not_be_reached_is_one_line_and_not_stored(
    installation: Installation, secret: None, reply: object, words: str
) -> None:
    with canned_server(reply) as receiver:  # type: ignore[arg-type]
        result = installation.run("outputs", "add", "webhook", "--url", receiver.url, "--secret", "-")
    assert result.code != 0 and words in result.error_line and len(result.err.splitlines()) <= 2
    assert SECRET not in result.err
    assert installation.query_rows("outputs", "list") == []


@pytest.mark.parametrize(
    ("url", "is_warned_of"),
    [
        ("http://service.example/secret-path", True),
        ("https://service.example/secret-path", False),
        ("http://receiver:8080/secret-path", False),
        ("http://192.168.1.10/secret-path", False),
    ],
)
def test_an_address_of_the_internet_without_tls_is_warned_of(
    installation: Installation, secret: None, url: str, is_warned_of: bool
) -> None:
    result = installation.run("outputs", "add", "webhook", "--url", url, "--secret", "-", "--no-check")
    assert result.code == 0, result.err
    assert ("this address has no TLS" in result.err) == is_warned_of
    assert "secret-path" not in result.err


@pytest.mark.parametrize(
    "words, said",
    [
        (["--url", "ftp://x.example", "--secret", "-"], "https:// URL"),
        (["--url", f"https://{'a' * 64}.example/", "--secret", "-"], "not an address"),
        (["--url", "https://me:secret-path\N{CARE OF}@x.example", "--secret", "-"], "not an address"),
        (["--url", URL, "--secret", SECRET], "shell's history"),
        (["--url", URL], "32 characters"),
        (["--secret", "-"], "give --url"),
        (["--url", URL, "--secret", "-", "--option", "colour=red"], "has no option colour"),
        (["--url", URL, "--secret", "-", "--option", "colour"], "NAME=VALUE"),
        (["--url", URL, "--secret", "-", "--tenant", "a", "--account", "b"], "either --tenant or --account"),
        (["--url", URL, "--secret", "-", "--no-check", "--account", "k0000000000x"], "releve accounts list"),
        (["--url", URL, "--secret", "-", "--no-check", "--tenant", "nobody"], "releve tenants"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(
    installation: Installation, secret: None, words: list[str], said: str
) -> None:
    result = installation.run("outputs", "add", "webhook", *words)
    assert result.code != 0 and said in result.error_line.replace("\n", " "), result.err
    assert "secret-path" not in result.err
    assert installation.query_rows("outputs", "list") == []


def test_an_unknown_output_is_said_in_one_line(installation: Installation) -> None:
    for words in (("test", "nothing"), ("resend", "nothing"), ("remove", "nothing", "--yes")):
        result = installation.run("outputs", *words)
        assert result.code != 0 and "`releve outputs list` shows the outputs" in result.error_line


def test_days_that_an_output_can_t_delete_are_listed_until_they_were_deleted_by_hand(
    installation: Installation, account: str
) -> None:
    options = ("--url", "http://127.0.0.1:9", "--option", "database=home", "--no-check")
    output = installation.query("outputs", "add", "line-protocol", *options)["id"]
    assert installation.query_rows("outputs", "list")[0]["days_to_delete"] == {}
    gone = ["2024-07-20T10:30Z", "2024-07-20T11:30Z", "2024-07-21T22:30Z"]
    with installation.open() as parts:
        with parts.stores.registry.outbox.noting(account, Series.LOAD_CURVE) as note:
            note(ChangedPart(NOW - timedelta(days=9), NOW, frozenset(gone)))
        kept = [(Series.LOAD_CURVE, key) for key in gone]
        parts.stores.registry.outbox.delete_sent(parts.stores.registry.outbox.next_changes(output), kept)
    assert installation.query_rows("outputs", "list")[0]["days_to_delete"] == {account: ["2024-07-20", "2024-07-22"]}
    assert f"output {output}: 2 days to delete and resend\n" in installation.releve("outputs", "list").out
    installation.query("outputs", "resend", output, "--from", "2024-07-21", "--deleted")
    assert f"output {output}: 1 day to delete and resend\n" in installation.releve("outputs", "list").out
    installation.query("outputs", "resend", output, "--deleted")
    assert installation.query_rows("outputs", "list")[0]["days_to_delete"] == {}


def test_status_explain_and_doctor_tell_what_waits_and_why(
    installation: Installation, account: str, secret: None
) -> None:
    output = installation.query("outputs", "add", "webhook", "--url", URL, "--secret", "-", "--no-check")["id"]
    with installation.open() as parts:
        parts.stores.registry.outbox.delete_sent(parts.stores.registry.outbox.next_changes(output))
        parts.stores.registry.outputs.record_sent(output, NOW - timedelta(days=1))
        assert "all sent, last sent 2024-07-24" in installation.releve("explain", account).out
        with parts.stores.registry.outbox.noting(account, Series.DAILY) as note:
            note(ChangedPart(NOW, NOW))
        parts.stores.registry.outputs.record_failure(
            output, "NotDelivered", "the receiver answers with status 503", NOW, sent=False
        )
    explained, status = installation.query("explain", account), installation.query("status")
    for (row,) in (explained["outputs"], status["outputs"]):
        assert (row["id"], row["waiting"], row["tries"]) == (output, 1, 1)
        assert row["error"] == "the receiver answers with status 503" and row["next_try_at"] > row["failing_since"]
    for words in (("explain", account), ("status",)):
        said = installation.releve(*words).out
        assert output in said and "failing since 2024-07-25" in said and "status 503" in said
    (check,) = [row for row in installation.run("doctor", "--json").rows if row["check"] == "outputs"]
    assert output in str(check) and "releve outputs test" in str(check)
