"""Documents of further series, with all their fields: a backup brings them back, an erasure leaves none."""

from __future__ import annotations

from pathlib import Path

from tests.support.backups import documents, installation_with_keys
from tests.support.parts import Parts
from tests.support.registries import METER, NOW
from worker.domain.documents import Entry, to_document
from worker.domain.series import Doctype, Series, SeriesSwitch
from worker.ops.backup import back_up, restore
from worker.runtime.consent_parts import erase

DETAILS = {
    Doctype.MAX_POWER: {"at": "2024-07-24T19:06:20+02:00"},
    Doctype.INDEX: {"calendar": "HC", "registers": {"HP": 12_345_678, "HC": 2_345_678}},
    Doctype.PRODUCTION_INDEX: {"calendar": "BASE", "registers": {"BASE": 1_000}},
    Doctype.CONTRACT: {"tariff": "BTINFCUST", "off_peak_hours": "HC (22H00-6H00)", "activated_on": "2013-08-14"},
    Doctype.GAS_DAY: {"volume": 0.28, "coefficient": 11.42781, "quality": "measured", "status": "provisional"},
    Doctype.GAS_PUBLISHED: {"ends_on": "2024-08-01", "volume": 9.2, "status": "final"},
    Doctype.GAS_CONTRACT: {"frequency": "1M", "transport_tariff": "T2", "activated_on": "2018-08-31"},
}


def write_one_of_each(parts: Parts, account_id: str) -> int:
    """Write one document of every doctype with details, and return their number."""
    for doctype, details in DETAILS.items():
        entry = Entry("2024-07-24", 4_123_000, details=details)
        assert not any(parts.stores.measures.write({doctype: [to_document(account_id, doctype, entry, NOW)]}).values())
    return len(DETAILS)


def test_a_backup_brings_all_fields_and_switches_back_and_an_erasure_leaves_nothing(
    redis_url: str, tmp_path: Path
) -> None:
    old = installation_with_keys(tmp_path / "old", redis_url, tmp_path / "ledger.ndjson")
    new = installation_with_keys(tmp_path / "new", redis_url, tmp_path / "ledger.ndjson")
    with old.open() as parts:
        account_id = parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)[0].id
        parts.stores.registry.outcomes.switch(account_id, Series.CONTRACT, SeriesSwitch.ON, NOW)
        parts.stores.registry.outcomes.switch(account_id, Series.LOAD_CURVE, SeriesSwitch.OFF, NOW)
        written = write_one_of_each(parts, account_id)
        before = documents(parts)
        back_up(parts.stores, tmp_path / "backup.zip")
    with new.open() as parts:
        assert restore(parts.stores.settings, tmp_path / "backup.zip").documents == written
        assert documents(parts) == before and len(before) == written
        assert parts.stores.registry.outcomes.collected(account_id) == [Series.DAILY, Series.CONTRACT]
        erased = erase(parts.stores, account_id)
        assert (erased["documents"], erased["outcomes"]) == (written, 3)
        assert documents(parts) == [] and parts.stores.registry.outcomes.known(account_id) == []


def test_all_doctypes_with_details_are_tried_here() -> None:
    assert set(DETAILS) == {doctype for doctype in Doctype if doctype.details}
