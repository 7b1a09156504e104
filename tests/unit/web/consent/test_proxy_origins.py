"""The addresses that the proxy may redirect to, and the settings of a consent that are checked at start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import ConfigError, Settings
from worker.web.consent.proxy import is_allowed_redirect, read_origins

ORIGINS = read_origins("https://*.cozy.example, https://stack.example:8443 ,http://localhost:8080,")


@pytest.mark.parametrize(
    "address",
    [
        "https://alice.cozy.example",
        "https://alice.cozy.example/",
        "https://ALICE.Cozy.Example/accounts/enedis/redirect?a=b&c=%20",
        "https://alice.cozy.example:443/x",
        "https://stack.example:8443/x",
        "http://localhost:8080/x",
    ],
)
def test_an_address_on_an_allowed_origin_may_be_followed(address: str) -> None:
    assert is_allowed_redirect(address, ORIGINS)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "alice.cozy.example",
        "https://cozy.example/",
        "https://a.b.cozy.example/",
        "https://alice.cozy.example.evil.example/",
        "https://evil-cozy.example/",
        "http://alice.cozy.example/",
        "https://alice.cozy.example:444/",
        "https://stack.example/",
        "https://user@alice.cozy.example/",
        "https://evil.example/@alice.cozy.example/\\",
        "https://evil.example?alice.cozy.example",
        "https://evil.example\\.alice.cozy.example/",
        "https:/\\alice.cozy.example/",
        "https://alice.cozy.example\t/",
        "https://alice.cozy.example/\n",
        " https://alice.cozy.example/",
        "https://аlice.cozy.example/",  # The first letter is Cyrillic.
        "https://*.cozy.example/",
        "https://alice.cozy.example./",
        "https://alice.cozy.example/#fragment",
        "https://evil.example#.cozy.example/",
        "//alice.cozy.example/",
        "javascript:alert(1)//.cozy.example",
        "https://alice.cozy.example/\r\nSet-Cookie: a=b",
        "https://alice.cozy.example/" + "a" * 2000,
    ],
)
def test_whatever_is_not_plainly_on_one_may_not(address: str) -> None:
    assert not is_allowed_redirect(address, ORIGINS)


def test_nothing_is_allowed_where_nothing_is_told() -> None:
    assert read_origins("") == ()
    assert not is_allowed_redirect("https://alice.cozy.example/", ())


@given(st.text(max_size=60))
def test_no_prefix_makes_another_host_fit(text: str) -> None:
    host = f"https://evil.example{text}"
    assert not is_allowed_redirect(host, ORIGINS) or text.lower().startswith(".cozy.example")
    assert not is_allowed_redirect(f"{text}evil.example/", ORIGINS)


@pytest.mark.parametrize(
    "bad",
    [
        "*",
        "https://*",
        "https://*.example",
        "https://a.*.example",
        "https://**.cozy.example",
        "https://x.cozy.example/path",
        "http://*.cozy.example",
        "cozy.example",
    ],
)
def test_a_setting_that_would_let_everybody_in_is_refused_at_start(bad: str) -> None:
    with pytest.raises(ConfigError, match="RELEVE_PROXY_ORIGINS: needs origins like"):
        Settings.from_env(_env_file=None, proxy_origins=f"https://*.cozy.example,{bad}")


@pytest.mark.parametrize("bad", ["P", "P0D", "P4Y", "PT1H", "P1Y2", "1Y", "P1D1Y", "P1097D", "P3Y1M", "p1y"])
def test_a_duration_that_no_page_takes_is_refused_at_start(bad: str) -> None:
    with pytest.raises(ConfigError, match="RELEVE_CONSENT_DURATION: needs a duration"):
        Settings.from_env(_env_file=None, consent_duration=bad)


@pytest.mark.parametrize("good", ["P6M", "P1Y", "P1Y4M", "P3Y", "P36M", "P1095D", "P1096D", "P156W"])
def test_durations_that_were_seen_are_taken(good: str) -> None:
    assert Settings.from_env(_env_file=None, consent_duration=good).consent_duration == good
