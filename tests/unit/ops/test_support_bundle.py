"""Support bundles: they show the state of an account, and neither its identity nor any secret."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from tests.support.explained_household import METER, ExplainedHousehold
from tests.support.factories import NOW
from tests.support.parts import Parts
from worker.domain.notice import Notice, NoticeKind
from worker.ops.support_bundle import Bundle, make_bundle, masked_settings
from worker.runtime.consent_parts import erase
from worker.stores.encryption import generate_key
from worker.stores.registry.outcomes import RunOutcome

SECRETS = {
    "enedis_client_id": "CANARY-client",
    "enedis_client_secret": "CANARY-client-secret",
    "session_key": "CANARY-session-key-0123456789-abcdef",
    "webhook_url": "https://CANARY.example/hook",
    "webhook_secret": "CANARY-webhook-of-32-characters-at-least",
    "notify_url": "mailtos://CANARY:CANARY@mail.example?from=canary-sender@example.org&to=canary@example.org",
    "public_url": "https://canary.example",
}
PRIVATE_TEXTS = (METER, METER[:-2], "canary", "example.org", "example")


def bundle_of(house: ExplainedHousehold, days: int = 5, *, with_values: bool = False) -> Bundle:
    return make_bundle(
        house.parts.stores,
        house.parts.sync,
        house.parts.stores.registry.accounts.get(house.account_id),
        days,
        with_values=with_values,
    )


@pytest.fixture
def house(redis_url: str, tmp_path: Path) -> Iterator[ExplainedHousehold]:
    keys = generate_key()
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "CANARY-data",
        redis_url=redis_url,
        token_keys=keys,
        enedis_url="http://127.0.0.1:9",
        pretend_now=NOW,
        calls_per_hour=77,
        **SECRETS,
    )
    with Parts(settings) as parts:
        house = ExplainedHousehold(parts)
        parts.stores.registry.outcomes.record(
            house.account_id,
            "daily",
            "9",
            NOW,
            RunOutcome(code="VENDOR_DOWN", message=f"of {METER}", last_day=None, stored=False),
        )
        kind = NoticeKind.CURVE_NOT_ACTIVATED
        parts.stores.registry.notices.insert_new(
            [Notice("n1", house.account_id, kind, kind.name, "never", "log", NOW, NOW)]
        )
        yield house
        erase(parts.stores, house.account_id)


def test_no_part_of_it_names_the_account_its_meter_or_a_secret(house: ExplainedHousehold) -> None:
    for with_values in (False, True):
        bundle = bundle_of(house, with_values=with_values)
        whole = "\n".join([*bundle.files, *bundle.files.values()])
        assert house.account_id not in whole
        assert bundle.alias in bundle.files["status.json"]
        leaks = [text for text in PRIVATE_TEXTS if text.lower() in whole.lower()]
        assert leaks == []


def test_what_the_household_used_is_in_it_only_when_asked_for(house: ExplainedHousehold) -> None:
    without, with_them = (bundle_of(house, with_values=with_values) for with_values in (False, True))
    for used in ("10.879", "10.997"):
        assert used not in "".join(without.files.values())
        assert used in with_them.files["corrections.json"]
    (correction,) = json.loads(without.files["corrections.json"])
    assert correction["changed_at"] and not any(name.endswith("kwh") for name in correction)


def test_it_says_what_support_needs(house: ExplainedHousehold) -> None:
    files = {name: json.loads(text) for name, text in bundle_of(house).files.items() if name.endswith(".json")}
    assert [day["day"] for day in files["explain.json"]] == [
        "2024-07-24",
        "2024-07-23",
        "2024-07-22",
        "2024-07-21",
        "2024-07-20",
    ]
    assert {day["reason"] for day in files["explain.json"]} == {"late", "complete"}
    assert files["status.json"]["series"]["daily"]["error"] == "VENDOR_DOWN"
    assert files["completeness.json"]["series"]["daily"]["complete"] == 30
    assert files["completeness.json"]["series"]["load_curve"]["late"] == 2
    assert files["notices.json"][0]["kind"] == "curve_not_activated"
    assert files["settings.json"]["calls_per_hour"] == 77
    assert (files["settings.json"]["webhook_secret"], files["settings.json"]["nightly_at"]) == ("set", "default")
    assert files["manifest.json"]["versions"]["celery"]


def test_two_bundles_cannot_be_laid_side_by_side(house: ExplainedHousehold) -> None:
    assert bundle_of(house).alias != bundle_of(house).alias


def test_every_text_that_was_set_is_only_said_to_be_set() -> None:
    values = masked_settings(Settings(_env_file=None, **SECRETS))
    assert {values[name] for name in SECRETS} == {"set"}
    assert set(values) == set(Settings.model_fields)


def test_its_file_is_new_and_its_owners_alone(house: ExplainedHousehold, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    bundle = bundle_of(house)
    bundle.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == bundle.files
    with pytest.raises(FileExistsError):
        bundle.write(path)
