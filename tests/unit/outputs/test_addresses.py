"""What was typed as an address: one line about a wrong one, which repeats nothing of it."""

from __future__ import annotations

import pytest

from worker.outputs.output import require_address


@pytest.mark.parametrize(
    "url",
    [
        f"https://{'a' * 64}.example/",
        "mqtts://a..example",
        "https://host:hunter2/",
        "https://me:hunter2\N{CARE OF}@host/",
        "https://[::1/hunter2",
        "https://host:0",
        "https://host:99999",
    ],
)
def test_a_text_that_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="not an address") as caught:
        require_address(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url", ["http://homeassistant.local:8123", "mqtt://[fe80::1]:1883", "https://hôte.example./a", "ws://supervisor/x"]
)
def test_an_address_is_taken(url: str) -> None:
    require_address(url)
