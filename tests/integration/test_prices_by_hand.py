"""`releve prices` and `releve cost`: what an account pays, and what its energy costs, by command."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from tests.support.api_service import TODAY
from tests.support.factories import NOW
from tests.support.gas_entries import gas_period
from tests.support.installation import Installation
from tests.support.panel_homes import PanelHome, store_home
from tests.support.registries import prepare_registry
from worker.domain.audit_entry import AuditFilter
from worker.domain.documents import to_document
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY
from worker.stores.registry.account_details import PRICES
from worker.texts import translate

HOME = PanelHome(TODAY - timedelta(days=1), days=40, curve_days=40)
OWN = """
supplier = "Énergie du Port"
[[electricity]]
from = 2024-07-01
subscription = 31
hp = 0.25
hc = 0.125
[[electricity]]
from = 2027-02-01
subscription = 31
hp = 0.5
hc = 0.25
[[production]]
from = 2024-01-01
price = 0.1
"""


UNKNOWN = "their energy, off-peak hours or colours (from RTE, or `releve prices tempo FILE`) are unknown"


@pytest.fixture
def home(installation: Installation) -> str:
    prepare_registry(installation.folder)
    with installation.open() as parts:
        account, _ = parts.stores.registry.accounts.add("enedis", "30001640000011", NOW, token_needed=False)
        store_home(parts, account.id, HOME)
    return account.id


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


def test_nothing_is_assumed(installation: Installation, home: str) -> None:
    refused = installation.releve("cost", home, code=1).error_line
    assert f"no price is set for this account: `releve prices set {home} …`" in refused
    assert installation.releve("prices", "show", home).out.splitlines() == [
        "no prices are set: `releve prices set --help` shows how",
    ]
    assert installation.releve("prices", "remove", home).out == "no prices were set\n"


def test_own_prices_are_shown_and_costs_printed(installation: Installation, home: str) -> None:
    installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", OWN))
    rows = installation.query_rows("prices", "show", home)
    assert [(row["kind"], row["first"], row["last"], row["owner"]) for row in rows] == [
        ("electricity", "2024-07-01", "2027-01-31", "account"),
        ("electricity", "2027-02-01", None, "account"),
        ("production", "2024-01-01", None, "account"),
        ("hours", "2018-08-31", None, "contract"),
        ("hours", "2024-04-15", None, "contract"),
        ("hours", "2024-06-15", None, "contract"),
    ]
    assert rows[0]["tariff"] == "Énergie du Port: hp 0.25, hc 0.125, 31 a month"
    assert [row["remark"] for row in rows] == ["", "in the future", "", "estimated", "", ""]

    *_, june, july = installation.query_rows("cost", home, "--by", "month")
    assert june == {
        "start": "2024-06-01",
        "end": "2024-07-01",
        "periods": [],
        "estimated": False,
        "source": None,
        "energy_eur": None,
        "subscription_eur": None,
        "total_eur": None,
        "days": 0,
        "expected_days": 30,
        "production_kwh": june["production_kwh"],
        "production_eur": june["production_eur"],
    }
    drawn = [HOME.drawn(date(2024, 7, 1) + place * ONE_DAY) for place in range(24)]
    watt_hours = {"hp": sum(sum(day[1::2]) for day in drawn), "hc": sum(sum(day[::2]) for day in drawn)}
    euros = {"hp": Decimal(watt_hours["hp"]) / 4000, "hc": Decimal(watt_hours["hc"]) / 8000}
    assert [(one["name"], one["kwh"]) for one in july["periods"]] == [
        (name, f"{Decimal(energy) / 1000:.3f}") for name, energy in watt_hours.items()
    ]
    assert Decimal(july["total_eur"]) == (sum(euros.values()) + 24).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert (july["subscription_eur"], july["days"], july["expected_days"], july["source"]) == (
        "24.00",
        24,
        31,
        "registers",
    )
    assert Decimal(july["total_eur"]) == sum(Decimal(one["eur"]) for one in july["periods"]) + 24

    days = installation.query_rows("cost", home)
    assert (days[0]["start"], days[-1]["start"], len(days)) == ("2024-06-24", "2024-07-24", 31)
    (year,) = installation.query_rows("cost", home, "--by", "year", "--from", "2024-07-01")
    assert (year["start"], year["end"], year["expected_days"]) == ("2024-07-01", "2025-01-01", 184)
    assert year["total_eur"] == july["total_eur"]
    table = installation.releve("cost", home).out.splitlines()
    assert max(map(len, table[:32])) <= 80 and table[1].split()[-3:] == ["0/1", "no", "price"]
    assert table[-2:] == [
        "amounts in euros; fixed: the subscription, about what a bill counts",
        "No price from 24 June 2024 to 30 June 2024: none is set.",
    ]


def test_hours_are_of_the_curve_and_tell_what_was_fed_in(installation: Installation, home: str) -> None:
    told = installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", OWN)).out
    assert told == f"the prices are set (in the future: 2027-02-01): `releve prices show {home}` lists all\n"
    rows = installation.query_rows("cost", home, "--by", "hour", "--from", "2024-07-20", "--to", "2024-07-20")
    assert len(rows) == 24
    steps, fed = HOME.drawn(date(2024, 7, 20)), HOME.fed(date(2024, 7, 20))
    for hour, row in enumerate(rows):
        (period,) = row["periods"]
        assert row["start"] == f"2024-07-20T{hour:02}:00:00+02:00"
        assert (row["minutes"], row["expected_minutes"], row["source"]) == (60, 60, "curve")
        assert period["name"] == ("hp" if 6 <= hour < 22 else "hc")
        assert period["kwh"] == f"{sum(steps[2 * hour : 2 * hour + 2]) / 1000:.3f}"
        assert row["production_kwh"] == f"{sum(fed[2 * hour : 2 * hour + 2]) / 1000:.3f}"
    table = installation.releve("cost", home, "--by", "hour").out.splitlines()
    assert max(map(len, table)) <= 80 and len(table) == 7 * 24 + 2, table


def test_the_regulated_tariff_counts_from_its_day_on_until_its_prices_are_no_longer_known(
    installation: Installation, home: str
) -> None:
    installation.releve("prices", "set", home, "--option", "base", "--power", "6")
    assert installation.query_rows("prices", "show", home) == [
        {
            "kind": "electricity",
            "first": "2000-01-01",
            "last": None,
            "tariff": "regulated base, 6 kVA",
            "owner": "account",
            "remark": "the known prices of the regulated tariff go from 23 July 2012 to 31 January 2026.",
        }
    ]
    with installation.open() as parts:
        parts.stores.registry.public_files.save("Option_Base.csv", "older than the copy that ships", date(2025, 7, 31))
    *_, june, july = installation.query_rows("cost", home, "--by", "month")
    (period,) = july["periods"]
    assert (period["name"], july["source"], july["estimated"]) == ("base", "daily", False)
    assert 0.2 < Decimal(period["eur"]) / Decimal(period["kwh"]) < 0.3 and june["days"] == 16

    refused = installation.releve("prices", "set", home, "--option", "hphc", "--power", "6", code=1).error_line
    assert (
        "something is set already: say from which day this holds (--from), or run `releve prices remove` first"
        in refused
    )
    installation.releve("prices", "set", home, "--option", "hphc", "--power", "6", "--from", "2024-07-10")
    *_, july = installation.query_rows("cost", home, "--by", "month")
    assert (july["days"], july["source"]) == (9, "daily")
    table = installation.releve("cost", home, "--by", "month").out.splitlines()
    assert table[-2] == (
        "No price from 10 July 2024 to 24 July 2024: the prices of option Peak / off-peak hours are not here yet "
        "(“releve prices update”)."
    )
    installation.releve("prices", "set", home, "--option", "base", "--power", "7", "--from", "2024-07-10")
    assert "the regulated tariff has no price for 7 kVA with option Base." in installation.releve("cost", home).out

    installation.releve("prices", "set", home, "--option", "base", "--power", "9", "--from", "2024-07-10")
    later = installation.but(pretend_now="2026-03-01T09:00:00+01:00")
    words = ("cost", home, "--from", "2026-01-31", "--to", "2026-02-02")
    known = "the known prices of the regulated tariff go from 23 July 2012 to 31 January 2026."
    assert later.releve(*words).out.splitlines()[-3:] == [
        f"No price from 1 February 2026 to 2 February 2026: {known}",
        f"days with a price but no cost: 1, because {UNKNOWN}",
        f"today: {known}",
    ]


def test_a_change_of_the_option_inside_a_month_goes_by_days(installation: Installation, home: str) -> None:
    installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", OWN))
    installation.releve("prices", "set", home, "--option", "base", "--power", "6", "--from", "2024-07-11")
    (july,) = installation.query_rows("cost", home, "--by", "month", "--from", "2024-07-01")
    assert [one["name"] for one in july["periods"]] == ["base", "hp", "hc"]
    assert (july["source"], july["days"]) == ("mixed", 24)
    parts = [
        *installation.query_rows("cost", home, "--by", "month", "--from", "2024-07-01", "--to", "2024-07-10"),
        *installation.query_rows("cost", home, "--by", "month", "--from", "2024-07-11", "--to", "2024-07-31"),
    ]
    assert abs(sum(Decimal(one["total_eur"]) for one in parts) - Decimal(july["total_eur"])) <= Decimal("0.01")


BASE = ("--option", "base", "--power", "6")
REFUSED = [
    (("--option", "base"), 2, "give --option with --power, or --hours, or --file"),
    (("--option", "base", "--power", "37"), 2, "37 is not in the range 1<=x<=36"),
    (("--from", "2024-07-01"), 2, "give --option with --power, or --hours, or --file"),
    (("--hours", "22:00-24:00"), 1, "off-peak hours, range 1: write 00:00 for 24:00"),
    (("--hours", "22:00-06:00,05:00-07:00"), 1, "overlap"),
    (("--hours", "22:00-06:00"), 1, "something is set already"),
    ((*BASE, "--from", "2026-02-30"), 2, "'2026-02-30' is not a day"),
]
REFUSED_FILES = [
    ("[[electricity]]\nfrom = 2024-07-01\nsubscription = 1\nbase = -0.1\n", "[[electricity]] 1, base: must be more"),
    ('[[electricity]]\nfrom = 2024-07-01\nsubscription = 1\nbase = "0,19"\n', "base: write 0.19, without quotes"),
    ("[[electricty]]\n", "'electricty' is unknown: did you mean electricity?"),
    ("#" * 300 + "\n" + "# x\n" * 17_000, "it is larger than 64 kB"),
    ("[[gas]]\nfrom = 2024-07-01\nsubscription = 1\nprice = 0.1\n", "this is a meter of electricity"),
    ("\udcff", "not a text in UTF-8"),
]


def test_bad_input_is_one_line_and_changes_nothing(installation: Installation, home: str) -> None:
    installation.releve("prices", "set", home, *BASE, "--hours", "23:00-05:00")
    before = installation.query_rows("prices", "show", home)
    for words, code, reason in REFUSED:
        assert reason in installation.releve("prices", "set", home, *words, code=code).error_line
    for text, reason in REFUSED_FILES:
        (installation.folder / "own.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
        line = installation.releve("prices", "set", home, "--file", "own.toml", code=1).error_line
        assert line.startswith("releve: ") and reason in line
    write(installation.folder, "days.csv", "day,colour\n2024-07-01,PINK\n")
    assert "days.csv: line 2: must be a day" in installation.releve("prices", "tempo", "days.csv", code=1).error_line
    write(installation.folder, "days.csv", "day,colour\n" + "2024-07-01,RED\n" * 70_000)
    assert "larger than 1024 kB" in installation.releve("prices", "tempo", "days.csv", code=1).error_line
    assert "give either an ACCOUNT or --tenant" in installation.releve("prices", "remove", code=2).error_line
    assert "give either" in installation.releve("prices", "remove", home, "--tenant", "default", code=2).error_line
    assert installation.query_rows("prices", "show", home) == before
    for by in ("hour", "day", "month", "year"):
        words = ("cost", home, "--by", by, "--from", "2024-07-02", "--to", "2024-07-01")
        assert "from 2024-07-02 to 2024-07-01: the first day" in installation.releve(*words, code=2).error_line


def test_a_households_own_outranks_its_tenants_default_from_its_first_day_on(
    installation: Installation, home: str
) -> None:
    installation.releve("prices", "set", "--tenant", "default", *BASE)
    refused = installation.releve("prices", "set", "--tenant", "default", "--hours", "22:00-06:00", code=1).error_line
    assert "each meter has its own" in refused
    assert "no tenant nobody" in installation.releve("prices", "set", "--tenant", "nobody", *BASE, code=1).error_line
    assert [one["owner"] for one in installation.query_rows("prices", "show", home)] == ["tenant"]
    installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", OWN))
    *_, june, july = installation.query_rows("cost", home, "--by", "month")
    assert [one["name"] for one in (*june["periods"], *july["periods"])] == ["base", "hp", "hc"]
    assert installation.releve("prices", "remove", home).out == "the prices are removed\n"
    *_, june, july = installation.query_rows("cost", home, "--by", "month")
    assert {one["name"] for one in (*june["periods"], *july["periods"])} == {"base"}
    installation.releve("prices", "remove", "--tenant", "default")
    installation.releve("cost", home, code=1)


def test_colours_are_added_to_those_known_and_one_that_comes_late_completes_the_day(
    installation: Installation,
) -> None:
    prepare_registry(installation.folder)
    with installation.open() as parts:
        account, _ = parts.stores.registry.accounts.add("enedis", "30001640000011", NOW, token_needed=False)
        store_home(parts, account.id, HOME, [Series.LOAD_CURVE])
    installation.releve("prices", "set", account.id, "--option", "tempo", "--power", "6")
    words = ("cost", account.id, "--from", "2024-07-02", "--to", "2024-07-02")
    (row,) = installation.query_rows(*words)
    assert (row["total_eur"], row["days"]) == (None, 0)
    assert "`releve prices tempo FILE`" in installation.releve(*words).out
    write(installation.folder, "days.csv", "day,colour\n2024-07-01,RED\n2024-07-02,WHITE\n")
    assert installation.query("prices", "tempo", "days.csv") == {"added": 2, "changed": 0}
    (row,) = installation.query_rows(*words)
    assert [one["name"] for one in row["periods"]] == ["white_hp", "white_hc", "red_hc"]
    assert "prices tempo" not in installation.releve(*words).out
    write(installation.folder, "days.csv", "day,colour\n2024-07-01,BLUE\n2024-07-03,BLUE\n")
    assert installation.query("prices", "tempo", "days.csv") == {"added": 1, "changed": 1}
    (row,) = installation.query_rows(*words)
    assert [one["name"] for one in row["periods"]] == ["blue_hc", "white_hp", "white_hc"]
    assert (row["days"], row["source"], row["estimated"]) == (1, "curve", False)


def test_gas_takes_own_prices_alone_and_a_meter_read_by_periods_has_no_days(installation: Installation) -> None:
    prepare_registry(installation.folder)
    with installation.open() as parts:
        account, _ = parts.stores.registry.accounts.add("grdf", "GI123456", NOW, token_needed=False)
        documents = [to_document(account.id, Doctype.GAS_PUBLISHED, gas_period("2024-05-15", "2024-06-15"), NOW)]
        parts.stores.measures.write({Doctype.GAS_PUBLISHED: documents})
    assert "this is a gas meter" in installation.releve("prices", "set", account.id, *BASE, code=1).error_line
    own = "[[gas]]\nfrom = 2024-01-01\nsubscription = 0\nprice = 0.1\n"
    installation.releve("prices", "set", account.id, "--file", write(installation.folder, "own.toml", own))
    may = installation.query_rows("cost", account.id, "--by", "month")[4]
    assert (may["total_eur"], may["periods"]) == ("99.00", [{"name": "price", "kwh": "990.000", "eur": "99.00"}])
    by_day = installation.releve("cost", account.id, "--from", "2024-05-01", "--to", "2024-05-31", code=2).error_line
    assert "this meter is read by periods of several days: ask by month or year" in by_day
    assert "gas has no hours" in installation.releve("cost", account.id, "--by", "hour", code=2).error_line


def test_what_is_set_is_sealed_ends_with_the_account_and_is_recorded(installation: Installation, home: str) -> None:
    installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", OWN))
    stored = b"".join(file.read_bytes() for file in installation.folder.glob("registry.db*"))
    assert "Énergie".encode() not in stored and b"0.125" not in stored
    installation.releve("accounts", "remove", home, "--yes")
    assert "was removed" in installation.releve("prices", "set", home, *BASE, code=1).error_line
    with installation.open() as parts:
        assert parts.stores.registry.account_details.load(home, PRICES) is None
        entries = [*parts.stores.registry.audit.page(AuditFilter(account_id=home), 20)]
    told = [(entry.action, entry.outcome) for entry in entries if entry.action.startswith("prices")]
    assert sorted(told) == [("prices.set", "CANNOT_FIND_ACCOUNT"), ("prices.set", "ok")]


def test_a_csv_ends_with_the_total_of_each_period(installation: Installation, home: str) -> None:
    plain = installation.releve("show", home, "--by", "month", "--format", "csv").out.splitlines()
    installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", OWN))
    priced = installation.releve("show", home, "--by", "month", "--format", "csv").out.splitlines()
    (july,) = installation.query_rows("cost", home, "--by", "month", "--from", "2024-07-01")
    assert priced == [f"{plain[0]},total_eur,priced_days", f"{plain[1]},,0", f"{plain[2]},{july['total_eur']},24"]


def test_a_household_that_only_sells_sees_what_it_is_paid(installation: Installation, home: str) -> None:
    text = "[[production]]\nfrom = 2024-01-01\nprice = 0.1269\n"
    installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", text))
    (row,) = installation.query_rows("cost", home, "--by", "year", "--from", "2024-07-01", "--to", "2024-07-24")
    assert (row["total_eur"], Decimal(row["production_eur"]) > 0) == (None, True)


def test_the_last_hour_before_a_day_without_a_price_has_one(installation: Installation, home: str) -> None:
    text = "[[electricity]]\nfrom = 2024-01-01\nuntil = 2024-07-20\nsubscription = 1\nbase = 0.2\n"
    installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", text))
    words = ("cost", home, "--by", "hour", "--from", "2024-07-20", "--to", "2024-07-21")
    table = [line for line in installation.releve(*words).out.splitlines() if line.startswith("2024-07-2")]
    assert [line.endswith("no price") for line in table] == [False] * 24 + [True] * 24


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-05", "2100-01-01"])
def test_a_day_of_a_far_century_is_refused_in_one_line(installation: Installation, home: str, day: str) -> None:
    installation.releve("prices", "set", home, *BASE)
    for by in ("day", "year"):
        refused = installation.releve("cost", home, "--by", by, "--to", day, code=2)
        assert "give days of the years 2000 to 2099" in refused.error_line


def test_a_file_has_its_own_days(installation: Installation, home: str) -> None:
    file = write(installation.folder, "own.toml", OWN)
    refused = installation.releve("prices", "set", home, "--file", file, "--from", "2024-07-01", code=2)
    assert "--file, which has its own days" in refused.error_line


def test_days_without_a_price_of_production_are_told(installation: Installation, home: str) -> None:
    own = OWN.split("[[production]]")[0] + "[[production]]\nfrom = 2024-07-20\nprice = 0.1\n"
    installation.releve("prices", "set", home, "--file", write(installation.folder, "own.toml", own))
    (july,) = installation.query_rows("cost", home, "--by", "month", "--from", "2024-07-01", "--to", "2024-07-31")
    fed = sum(sum(HOME.fed(date(2024, 7, day))) for day in range(20, 25))
    assert july["production_kwh"] == f"{Decimal(fed) / 1000:.3f}"
    table = installation.releve("cost", home, "--by", "day", "--from", "2024-07-15").out.splitlines()
    assert "Production from 15 July 2024 to 19 July 2024 has no price: totals leave it out." in table


def test_the_last_twelve_months_are_compared_under_each_option(installation: Installation) -> None:
    prepare_registry(installation.folder)
    home = PanelHome(TODAY - timedelta(days=1), days=340, curve_days=3)
    text = "DATE_DEBUT;DATE_FIN;P_SOUSCRITE;PART_FIXE_TTC;PART_VARIABLE_HC_TTC;PART_VARIABLE_HP_TTC\n"
    with installation.open() as parts:
        account, _ = parts.stores.registry.accounts.add("enedis", "30001640000011", NOW, token_needed=False)
        gas, _ = parts.stores.registry.accounts.add("grdf", "07123456789012", NOW, token_needed=False)
        assert "power isn't known" in installation.releve("cost", account.id, "--compare", code=2).error_line
        store_home(parts, account.id, home)
        parts.stores.registry.public_files.save("Option_HPHC.csv", f"{text}01/01/2023;;6;120;0,125;0,25\n", TODAY)
    base, peak, tempo = installation.query_rows("cost", account.id, "--compare")
    common = {"start": "2023-07-25", "end": "2024-07-25", "days": 340, "expected_days": 366, "estimated_days": 0}
    for row, option, source in ((base, "base", "daily"), (peak, "hphc", "registers")):
        assert row.items() >= {**common, "option": option, "source": source, "reason": None}.items()
    assert tempo["total_eur"] is None and tempo["days"] == 0
    assert tempo["reason"] == ("Not computed, too few known days: 0 of at least 330. Days without a Tempo colour: 366.")
    # The own option costs what its bills say.
    installation.releve("prices", "set", account.id, "--option", "hphc", "--power", "6")
    years = installation.query_rows("cost", account.id, "--by", "year", "--from", "2023-07-25", "--to", "2024-07-24")
    for name in ("energy_eur", "subscription_eur", "total_eur"):
        assert abs(sum(Decimal(row[name]) for row in years) - Decimal(peak[name])) <= Decimal("0.01")

    table = installation.releve("cost", account.id, "--compare").out.splitlines()
    assert max(map(len, table[:4])) <= 80 and table[3].split() == ["tempo", "-", "-", "-", "0", "0", "-"]
    assert table[4:] == [
        f"tempo: {tempo['reason']}",
        "Days compared: 340 of 366, from 25 July 2023 to 24 July 2024, at 6 kVA.",
        "Cheapest on these days: Peak / off-peak hours.",
        translate("compare.note", "en"),
    ]
    for words, code, reason in (
        ((account.id, "--compare", "--by", "month"), 2, "leave out --by, --from and --to"),
        ((account.id, "--power", "9"), 2, "--power and --hours go with --compare"),
        ((account.id, "--compare", "--hours", "22:00-24:00"), 1, "write 00:00 for 24:00"),
        ((gas.id, "--compare"), 2, "gas has no options to compare"),
    ):
        assert reason in installation.releve("cost", *words, code=code).error_line
    seven = installation.query_rows("cost", account.id, "--compare", "--power", "7")[0]["reason"]
    assert "Days without a price: 366; the regulated tariff has no price for 7 kVA with option Base." in seven
