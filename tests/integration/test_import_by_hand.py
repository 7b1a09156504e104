"""`releve import`: what it says and stores, whose account it is, and every recorded file to its exact Wh."""

from __future__ import annotations

import gzip
import json
import os
from datetime import date, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
from python_calamine import CalamineWorkbook

from tests.support.commands import CommandResult, run_releve
from tests.support.installation import Installation
from tests.support.made_files import hour_export
from tests.support.recordings import RECORDINGS, needs_recordings
from tests.support.registries import METER, OTHER_METER, add_ready
from worker.domain.account import AccountState
from worker.domain.documents import ALL_KEYS, key_of, to_entry
from worker.domain.reasons import Reason
from worker.domain.series import Doctype, Series
from worker.domain.tariffs import day_energies
from worker.errors import FilesOnly
from worker.runtime.sync_parts import build_explainer

COLUMNS: Final = (
    *("file", "format", "usage_point", "series", "first", "last", "days_new", "days_same", "days_different", "wh"),
    "differing",
)
HOME: Final = {"home": "true", "gateway_url": "http://127.0.0.1:9"}


def hour_file(folder: Path, name: str = "anything.bin", meter: str = METER, watts: int = 300) -> Path:
    """Write an export of Enedis' customer site with the half-hours of 1 and 2 July."""
    path = folder / name
    path.write_text(hour_export(meter, watts=watts), encoding="utf-8")
    return path


@pytest.fixture
def account(installation: Installation) -> str:
    with installation.open() as parts:
        return add_ready(parts.stores.registry)


def errors(ended: CommandResult) -> list[str]:
    return [line for line in ended.err.splitlines() if "PRETENDING" not in line]


def rows_of(installation: Installation, *words: str, code: int = 0, **changes: str) -> list[dict[str, Any]]:
    return installation.releve("import", *words, "--json", code=code, **changes).rows


# -- What it says and stores


def test_a_file_is_told_then_stored_and_the_second_time_nothing_is_new(
    installation: Installation, account: str, tmp_path: Path
) -> None:
    path = hour_file(tmp_path)
    told = {"file": "anything.bin", "format": "enedis-hour", "usage_point": "…0011", "series": "load_curve"}
    days = {"first": "2024-07-01", "last": "2024-07-02"}
    (row,) = rows_of(installation, str(path), "--dry-run")
    assert row == {**told, **days, "days_new": 2, "days_same": 0, "days_different": 0, "wh": 14_400, "differing": 0}
    assert tuple(row) == COLUMNS
    with installation.open() as parts:
        assert not parts.stores.measures.read(account, {Doctype.MINUTE: ALL_KEYS})[Doctype.MINUTE], "nothing is written"
    assert rows_of(installation, str(path)) == [row], "it says what it has found, then writes"
    (again,) = rows_of(installation, str(path))
    assert again == {**row, "days_new": 0, "days_same": 2}
    (other,) = rows_of(installation, str(hour_file(tmp_path, watts=310)), "--dry-run")
    assert (other["days_new"], other["days_same"], other["days_different"]) == (0, 0, 2)


def test_people_read_the_days_the_unit_and_the_step(installation: Installation, account: str, tmp_path: Path) -> None:
    ended = installation.releve("import", str(hour_file(tmp_path)))
    assert ended.out.splitlines() == [
        "anything.bin: enedis-hour, meter …0011, load_curve in kWh, steps of 30 min, 2024-07-01 to 2024-07-02: "
        "2 days new, 0 the same, 0 different, 14.400 kWh",
        f"  account {account}: 144 created, 0 updated, 0 unchanged",
    ]
    assert METER not in ended.out + ended.err
    ended = installation.releve("import", str(hour_file(tmp_path)), "--dry-run")
    assert ended.out.splitlines()[-1] == "nothing was written (--dry-run)"


def test_a_bad_file_stops_no_other_and_each_is_refused_in_one_line(
    installation: Installation, account: str, tmp_path: Path
) -> None:
    empty, poem = tmp_path / "empty.csv", tmp_path / "poem.csv"
    empty.touch()
    poem.write_text("Sous le pont Mirabeau\ncoule la Seine\n", encoding="utf-8")
    ended = installation.releve("import", str(empty), str(poem), str(hour_file(tmp_path)), "--json", code=1)
    assert [row["file"] for row in ended.rows] == ["anything.bin"]
    lines = errors(ended)
    assert [line.partition(":")[0] for line in lines] == ["releve", "releve"]
    assert ["empty.csv" in lines[0], "poem.csv" in lines[1], "Traceback" in ended.err] == [True, True, False]
    with installation.open() as parts:
        assert parts.stores.registry.outcomes.load(account)[Series.LOAD_CURVE].last_day == date(2024, 7, 2)


def test_a_pipe_is_refused_with_the_reason(installation: Installation, account: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # Nobody writes into it, so that opening it would wait for ever.
    ended = installation.releve("import", str(pipe), code=1)
    (line,) = errors(ended)
    assert "pipe: can't be read (it is no regular file" in line


@pytest.mark.parametrize(
    "words", [[], ["no-such-file.csv"], ["FILE", "--usage-point", "123"], ["FILE", "--account", "zzz"]], ids=str
)
def test_a_wrong_call_is_a_misuse_or_an_account_that_is_not_there(
    words: list[str], installation: Installation, account: str, tmp_path: Path
) -> None:
    path = str(hour_file(tmp_path))
    ended = installation.run("import", *(path if word == "FILE" else word for word in words))
    assert ended.code == (1 if "zzz" in words else 2)
    assert len(errors(ended)) == 1


def test_an_import_is_recorded_with_its_counts_and_without_a_meter(
    installation: Installation, account: str, tmp_path: Path
) -> None:
    installation.releve("import", str(hour_file(tmp_path)), "--dry-run")
    installation.releve("import", str(hour_file(tmp_path)))
    entries = [entry for entry in installation.query_rows("audit") if entry["action"] == "account.import"]
    assert [(one["account"], one["subject"], one["outcome"]) for one in entries] == [
        (account, "2new-0same-0different", "ok")
    ]
    assert METER not in json.dumps(entries)


def test_what_a_file_told_is_explained_so(installation: Installation, account: str, tmp_path: Path) -> None:
    installation.releve("import", str(hour_file(tmp_path)))
    explanation = installation.query("explain", account, "2024-07-01")
    curve = explanation["series"]["load_curve"]
    assert (curve["reason"], curve["state"]) == ("from_file", "file")
    assert curve["sentence"]["en"] == "We have the half-hour curve for 1 July 2024 in full, from an imported file."
    coverage = installation.query_rows("explain", "--days", account)[0]
    assert "file" not in json.dumps(coverage), "a day of a file counts as complete"


# -- Whose it is


def test_a_file_of_another_meter_is_refused(installation: Installation, account: str, tmp_path: Path) -> None:
    path = str(hour_file(tmp_path, meter=OTHER_METER))
    ended = installation.releve("import", path, "--account", account, code=1)
    line = f"releve: anything.bin: it is of meter …0022, but account {account} is of …0011"
    assert errors(ended) == [line]
    ended = installation.releve("import", path, code=1)
    assert errors(ended) == ["releve: anything.bin: meter …0022 has no account: add one first, or give --account"]
    ended = installation.releve("import", path, "--usage-point", METER, code=1)
    assert errors(ended) == ["releve: anything.bin: it is of meter …0022, not of …0011"]
    with installation.open() as parts:
        assert not parts.stores.measures.read(account, {Doctype.MINUTE: ALL_KEYS})[Doctype.MINUTE]


def test_a_file_without_a_number_needs_the_meter_or_the_account(
    installation: Installation, account: str, tmp_path: Path
) -> None:
    path = tmp_path / "courbe.csv"
    steps = [f"2024-07-01T{hour:02}:00:00+02:00;2024-07-01T{hour:02}:30:00+02:00;0.3" for hour in range(23)]
    path.write_text("debut;fin;kW\n" + "\n".join(steps), encoding="utf-8")
    ended = installation.releve("import", str(path), code=1)
    assert errors(ended) == ["releve: courbe.csv: it does not name its meter: give --usage-point or --account"]
    (named,) = rows_of(installation, str(path), "--usage-point", METER)
    (chosen,) = rows_of(installation, str(path), "--account", account)
    assert (named["usage_point"], named["days_new"]) == ("…0011", 1)
    assert (chosen["usage_point"], chosen["days_same"]) == ("…0011", 1)


def test_a_home_makes_the_account_of_a_new_meter_and_asks_nothing_for_it(
    installation: Installation, tmp_path: Path
) -> None:
    path = str(hour_file(tmp_path))
    rows_of(installation, path, "--dry-run", **HOME)
    with installation.open(**HOME) as parts:
        assert parts.stores.registry.accounts.page() == [], "a dry run makes none"
    rows_of(installation, path, **HOME)
    with installation.open(**HOME) as parts:
        (account,) = parts.stores.registry.accounts.page()
        assert (account.supplier, account.state, account.reason) == (
            "gateway",
            AccountState.ACTION_NEEDED,
            FilesOnly.code,
        )
        assert not account.active and account.usage_point_id == METER
        assert parts.stores.registry.due.list_histories(Series.DAILY, parts.stores.now(), 10) == []
        proof = parts.stores.registry.consents.newest_proofs([account.id])[account.id]
        assert (proof.kind, proof.vouched_by) == ("asserted", "file import")
        explanation = build_explainer(parts.stores, parts.sync).explain(account, date(2024, 7, 20))
        assert explanation.reason is Reason.FILES_ONLY
    (again,) = rows_of(installation, path, **HOME)
    assert again["days_same"] == 2
    advice = installation.releve("sync", account.id, code=1, **HOME).error_line
    assert "`releve home add`" in advice and "resume" not in advice


def test_a_fresh_folder_becomes_a_homes(redis_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    env = {"RELEVE_DATA_DIR": str(folder), "RELEVE_REDIS_URL": redis_url}
    path = str(hour_file(tmp_path))
    assert run_releve(tmp_path, env, "import", path, "--dry-run").code == 0
    assert not (folder / "home").exists()
    ended = run_releve(tmp_path, env, "import", path)
    assert (ended.code, (folder / "home").exists()) == (0, True), ended.err
    assert "added for the meter …0011" in ended.out
    fleet = {**env, "RELEVE_DATA_DIR": str(tmp_path / "fleet"), "RELEVE_HOME": "false"}
    assert run_releve(tmp_path, fleet, "import", path).code == 1
    assert not (tmp_path / "fleet" / "home").exists()


# -- Recorded files

AFTER_THEM: Final = "2025-06-01T09:00:00+02:00"
WATT_HOURS: Final = {
    ("ENEDIS_R63_P_CdC_20250313.csv", "load_curve"): 27_370_227,
    ("Enedis_Conso_Heure_20221024-20240725_99000000000011.csv", "load_curve"): 10_684_630,
    ("Enedis_Conso_Jour_20240109-20240725_99000000000011.csv", "registers"): 3_469_220,
    ("Enedis_Conso_Jour_20240109-20240725_99000000000011.csv", "daily"): 3_469_220,
    ("Enedis_Conso_Jour_20240430-20240802_99000000000077.csv", "registers"): 991_297,
    ("Enedis_Conso_Jour_20240430-20240802_99000000000077.csv", "daily"): 991_297,
}


def stored_watt_hours(parts: Any, account_id: str, series: Series) -> float:
    documents = parts.stores.measures.read(account_id, {series.inputs: ALL_KEYS})[series.inputs]
    entries = [to_entry(document) for document in documents]
    if series is Series.REGISTERS:
        return sum(day.total for day in day_energies(entries))
    return sum(entry.amount for entry in entries if not entry.is_computed) / 1000


@needs_recordings
@pytest.mark.parametrize(
    "pattern", ["Enedis_Conso_Jour*", pytest.param("*", marks=pytest.mark.rest)], ids=["days", "all"]
)
def test_every_recorded_export_is_stored_to_its_exact_watt_hours(
    installation: Installation, tmp_path: Path, pattern: str
) -> None:
    known = {(name, series): total for (name, series), total in WATT_HOURS.items() if fnmatch(name, pattern)}
    names = sorted({name for name, _ in known})
    files = []
    for name in names:
        path = tmp_path / name
        path.write_bytes(gzip.decompress((RECORDINGS / "exports" / f"{name}.gz").read_bytes()))
        files.append(str(path))
    settings = {**HOME, "pretend_now": AFTER_THEM}
    rows = rows_of(installation, *files, **settings)
    assert [row["wh"] for row in rows] == list(known.values())
    with installation.open(**settings) as parts:
        accounts = {account.usage_point_id[-4:]: account.id for account in parts.stores.registry.accounts.page()}
        meters = {name: "0033" if "R63" in name else name[-8:-4] for name in names}
        assert accounts.keys() == set(meters.values())
        for (name, series), watt_hours in known.items():
            assert stored_watt_hours(parts, accounts[meters[name]], Series(series)) == watt_hours, name
    again = rows_of(installation, *files, **settings)
    assert [(row["days_new"], row["days_different"]) for row in again] == [(0, 0)] * len(rows)
    assert [row["days_same"] for row in again] == [row["days_new"] for row in rows]


@needs_recordings
def test_the_recorded_days_of_gas_are_stored_row_by_row(installation: Installation) -> None:
    path = RECORDINGS / "gas" / "Donnees_informatives_PCE_DAILY.xlsx"
    rows = [row for row in CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python() if len(str(row[0])) == 10]
    expected = {
        datetime.strptime(row[0], "%d/%m/%Y").date().isoformat(): row[4]  # noqa: DTZ007
        for row in rows
        if row[7] == "Mesuré"
    }
    assert len(expected) > 300
    pce = "09900000000001"
    ended = installation.releve("import", str(path), "--usage-point", pce, code=1)
    assert "meter …0001 has no account" in ended.err
    (row,) = rows_of(installation, str(path), "--usage-point", pce, **HOME)
    assert (row["series"], row["days_new"], row["wh"]) == ("gas_daily", len(expected), 1000 * sum(expected.values()))
    with installation.open(**HOME) as parts:
        (account,) = parts.stores.registry.accounts.page()
        assert (account.supplier, account.reason) == ("grdf", FilesOnly.code)
        inputs = Series.GAS_DAILY.inputs
        documents = parts.stores.measures.read(account.id, {inputs: ALL_KEYS})[inputs]
        assert {key_of(document): document["load"] for document in documents} == expected
    (again,) = rows_of(installation, str(path), "--usage-point", pce, **HOME)
    assert (again["days_new"], again["days_different"]) == (0, 0)
    months = RECORDINGS / "gas" / "Donnees_informatives_PCE_MONTHLY.xlsx"
    assert len(errors(installation.releve("import", str(months), "--usage-point", pce, code=1, **HOME))) == 1
