"""The public address of the web service, from the setting or from where it listens."""

from __future__ import annotations

import pytest

from config.settings import Settings
from worker.ops.supervisor import public_url


def test_the_address_that_was_told_goes_before_where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEVE_PUBLIC_URL", "https://releve.example.org")
    assert public_url(Settings(_env_file=None), "0.0.0.0", 8000) == "https://releve.example.org"


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:8777"), ("0.0.0.0", "http://127.0.0.1:8777"), ("::1", "http://[::1]:8777")],
)
def test_untold_it_is_where_it_listens(monkeypatch: pytest.MonkeyPatch, host: str, address: str) -> None:
    monkeypatch.delenv("RELEVE_PUBLIC_URL", raising=False)
    assert public_url(Settings(_env_file=None), host, 8777) == address
