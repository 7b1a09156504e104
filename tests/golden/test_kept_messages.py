"""Steps of a kept release and of ours at one queue: each takes what the other has sealed, and hands on the same."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tasks.pipeline import publish
from tests.golden.keep_messages import NEXT_CHOICE, STEPS, Workers
from tests.support.kept_installation import load_kept

KEPT: Final = load_kept("messages")
FOLLOWING: Final = dict(zip(STEPS, (*list(STEPS)[1:], NEXT_CHOICE), strict=True))


@pytest.fixture(params=KEPT)
def kept(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return a kept window."""
    window: dict[str, Any] = json.loads(json.dumps(KEPT[request.param]))  # Steps may change what they are given.
    return window


@pytest.fixture
def workers(kept: dict[str, Any]) -> Iterator[Workers]:
    """Yield workers of ours, which find what was stored before the window."""
    with Workers.of(kept) as workers:
        yield workers


def open_kept_form(published: Mapping[str, Any], step: str, key: str) -> Any:
    """Return what a message has sealed, read by the form as the release wrote it and by no code of ours."""
    (message,) = published["args"]
    place = "{step}/{account_id}/{series}/{start}/{end}/{run_id}".format(step=step, **message)
    sealed = base64.urlsafe_b64decode(message["sealed"])
    header, salt, content = sealed[:9], sealed[9:25], sealed[25:]
    assert header[:1] == b"\x02"
    cipher = AESGCM(HKDF(SHA256(), 32, salt, b"releve/broker").derive(key.encode()))
    return json.loads(zlib.decompress(cipher.decrypt(bytes(12), content, header + place.encode())))


def form_of(published: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without its sealed part and without headers that the kept one lacks: Celery may add some."""
    args = [
        {name: value for name, value in each.items() if name != "sealed"} if isinstance(each, dict) else each
        for each in published["args"]
    ]
    headers = {name: published["headers"].get(name, "missing") for name in like["headers"]}
    return {**published, "headers": headers, "args": args}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_ours_hands_on_what_the_step_of_the_release_did(
    kept: dict[str, Any], step: str, workers: Workers
) -> None:
    workers.run(kept["published"][step])
    published, following = workers.take(), FOLLOWING[step]
    before = kept["published"].get(following)
    assert (published is None) == (before is None)
    if published:
        assert form_of(published, before) == form_of(before, before)
    if following in STEPS:
        key = load_kept("secrets")["keys"]["token_keys"]
        assert open_kept_form(before, following, key) == kept["messages"][following]
        assert open_kept_form(published, following, key) == kept["messages"][following]


def test_the_last_step_of_ours_stores_what_that_of_the_release_did(kept: dict[str, Any], workers: Workers) -> None:
    workers.run(kept["published"]["store"])
    assert json.loads(json.dumps(workers.outcome())) == {name: kept[name] for name in ("after", "corrections")}


def test_a_window_is_published_as_by_the_release(kept: dict[str, Any], workers: Workers) -> None:
    publish([kept["job"]])
    published, before = workers.take(), kept["published"]["fetch"]
    assert published is not None and form_of(published, before) == form_of(before, before)
