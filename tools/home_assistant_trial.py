"""Send a made-up home to a real Home Assistant, and compare what its recorder holds: for each of its new versions.

    python -m venv ha && ha/bin/pip install homeassistant && ha/bin/hass -c folder   # and make a token in its pages
    python -m tools.home_assistant_trial http://127.0.0.1:8123 < token

``configuration.yaml`` needs ``http:``, ``auth:``, ``onboarding:``, ``recorder:`` and ``websocket_api:``. It writes the
statistics ``releve:home_…``, so never try it on a Home Assistant that is in use.
"""

from __future__ import annotations

import sys
from datetime import date, timedelta

from tests.support.statistic_homes import ACCOUNT, NOW, StatisticHome, hours_of
from worker.accounts.prices import AccountTariff
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.series import Series
from worker.domain.statistics import STATISTICS
from worker.domain.windows import ONE_DAY, civil_date
from worker.outputs.home_assistant import HomeAssistant, StatisticReader, statistic_id
from worker.outputs.home_assistant_socket import HomeAssistantAddress, parse_address
from worker.outputs.output import Change

FIRST = date(2026, 3, 1)
DAYS = [FIRST + place * ONE_DAY for place in range(250)]  # With both clock changes.
AUTUMN = date(2026, 10, 25)
OWN = read_own_prices("[[electricity]]\nfrom = 2026-01-01\nsubscription = 10\nbase = 0.2065\n")
TARIFF = AccountTariff(supplier="enedis", today=civil_date(NOW), choices=[OWN], regulated={}, colours={}, contracts=())


def main() -> int:
    """Send, correct twice, and print for each statistic whether Home Assistant holds what was sent."""
    home, address = StatisticHome(), HomeAssistantAddress(parse_address(sys.argv[1]), sys.stdin.read().strip())
    output = HomeAssistant(address, "en", home.measures, lambda: NOW, lambda _: TARIFF)
    sys.stdout.write(f"{output.check()}\n")
    changes = [home.put_day(Series.DAILY, day, 9_000 + day.day) for day in DAYS]
    changes += [home.put_day(Series.GAS_DAILY, day, 20_000, volume=1.8) for day in DAYS]
    for day in DAYS[200:]:
        known = hours_of(day)[day.day % 3 :]  # Of most days an hour or two lack.
        changes.append(home.put_hours(Series.LOAD_CURVE, {start: 300 + start.hour for start in known}))
    corrected = home.put_day(Series.DAILY, DAYS[20], 50_000)
    without_volume = home.put_day(Series.GAS_DAILY, DAYS[30], 21_000)
    steps: list[tuple[str, list[Change]]] = [("sent", changes), ("sent again", [corrected]), ("gas", [without_volume])]
    holds = True
    for name, step in steps:
        output.send(step)
        holds = _compare(name, home, address) and holds
    start = hours_of(AUTUMN)[2]
    home.remove_hour(Series.LOAD_CURVE, start)
    output.send([Change(ACCOUNT, Series.LOAD_CURVE, start, start)])
    return 0 if _compare("an hour less", home, address) and holds else 1


def _compare(name: str, home: StatisticHome, address: HomeAssistantAddress) -> bool:
    holds = True
    with address.open() as session:
        for statistic in STATISTICS:
            rows = StatisticReader(home.measures, ACCOUNT.id, statistic).rows_since(FIRST, NOW)
            sent = [(row.start.timestamp(), row.amount and row.amount / 1e6, row.total / 1e6) for row in rows]
            identifier = statistic_id(ACCOUNT, statistic)
            answer = session.call(
                "recorder/statistics_during_period",
                start_time=(NOW - timedelta(days=2000)).isoformat(),
                statistic_ids=[identifier],
                period="hour",
            )
            held = [(row["start"] / 1000, row["state"], row["sum"]) for row in answer.get(identifier, ())]
            sys.stdout.write(f"{name}: {identifier}: {len(sent)} rows, {'held' if held == sent else 'DIFFERENT'}\n")
            holds = holds and held == sent
        identifier, price = f"releve:{ACCOUNT.label}_consumption_cost", float(OWN.electricity[0].energy["base"])
        start = (NOW - timedelta(days=2000)).isoformat()
        asked = {"start_time": start, "statistic_ids": [identifier], "period": "hour"}
        costs = session.call("recorder/statistics_during_period", **asked)[identifier]
        expected = price * sum(one["load"] for one in home.measures[Series.DAILY.inputs].documents.values())
        is_same = abs(costs[-1]["sum"] - expected) < 1e-6
        sys.stdout.write(f"{name}: {identifier}: {len(costs)} rows, {'held' if is_same else 'DIFFERENT'}\n")
    return holds and is_same


if __name__ == "__main__":
    sys.exit(main())
