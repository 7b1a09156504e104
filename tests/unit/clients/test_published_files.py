"""Files fetched over https: whole, small, and from named hosts only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.canned_server import SILENT, CannedAnswer, CannedServer, answer, canned_server, cut_short
from tests.support.certificates import Certificates
from worker.clients import published_files
from worker.clients.published_files import NotFetched, fetch_text

pytestmark = pytest.mark.sockets

HOSTS = ("127.0.0.1",)
TEXT = "DATE_DEBUT;DATE_FIN\r\n01/08/2025;é\r\n"


@pytest.fixture
def server(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedServer]:
    """A server whose authority this process trusts."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
    with canned_server(tls=certificates.server_context()) as server:
        yield server


def moved(place: str, status: int = 302) -> CannedAnswer:
    return answer(status, "over there", "text/plain", Location=place)


def refusal(server: CannedServer, *script: CannedAnswer, url: str | None = None, longest: int = 1000) -> str:
    server.script[:] = script
    with pytest.raises(NotFetched) as caught:
        fetch_text(url or f"{server.url}file.csv?key=s3cret", HOSTS, longest)
    text = str(caught.value)
    assert "s3cret" not in text and "\n" not in text
    return text


def test_a_file_is_fetched_also_where_it_has_moved_on_a_named_host(server: CannedServer) -> None:
    server.script[:] = [moved("/new/file.csv"), moved(f"{server.url}last.csv", 308), answer(200, TEXT, "text/csv")]
    assert fetch_text(f"{server.url}file.csv", HOSTS, 1000) == TEXT
    assert [path for _, path, _ in server.requests] == ["/file.csv", "/new/file.csv", "/last.csv"]


@pytest.mark.parametrize(
    "place",
    [
        "https://localhost:{port}/file.csv",
        "http://127.0.0.1:{port}/file.csv",
        "https://127.0.0.1:{port}@evil.example/",
        "//evil.example\\@127.0.0.1:{port}/",
    ],
)
def test_no_redirect_leads_to_another_host_or_away_from_https(server: CannedServer, place: str) -> None:
    port = server.url.split(":")[2].strip("/")
    said = refusal(server, moved(place.format(port=port)), answer(200, TEXT, "text/csv"))
    assert said == "127.0.0.1 redirects to a place that isn't https:// on a named host"
    assert len(server.requests) == 1
    assert "127.0.0.1 can't be reached" in refusal(server, moved("https://[/"))


def test_redirects_end(server: CannedServer) -> None:
    assert refusal(server, *[moved("/again")] * 20) == "127.0.0.1 redirects too often"
    assert len(server.requests) == 5


def test_a_file_that_is_too_long_is_not_read(server: CannedServer) -> None:
    assert "more than 1000 bytes" in refusal(server, answer(200, "x" * 1001, "text/csv"))
    server.script[:] = [answer(200, "x" * 1000, "text/csv")]
    assert len(fetch_text(f"{server.url}file.csv", HOSTS, 1000)) == 1000


def test_what_the_server_does_is_told_in_a_line(server: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(server, answer(404, "none")) == "127.0.0.1 answered with status 404"
    assert refusal(server, cut_short(200, "cut")) == "127.0.0.1 can't be reached, or broke off (ChunkedEncodingError)"
    assert refusal(server) == "127.0.0.1 can't be reached, or broke off (ConnectionError)"
    monkeypatch.setattr(published_files, "_LONGEST_S", 0.2)
    assert refusal(server, SILENT) == "127.0.0.1 did not finish its answer in time"


def test_an_address_without_tls_or_with_another_certificate_is_not_called(
    server: CannedServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal(server, url=server.url.replace("https", "http"))
    assert said == "the address isn't https:// on a named host"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.other_authority))
    assert refusal(server, answer(200, TEXT)) == "127.0.0.1 can't be reached, or broke off (SSLError)"
    assert server.requests == []
