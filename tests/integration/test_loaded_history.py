"""A history at the simulator, on a real Redis: its flag follows the registry, and a lost one costs nothing."""

from __future__ import annotations

from simulator.switches import SimulatorOptions
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.simulators import serve_in_background
from worker.clients.enedis import ENEDIS
from worker.domain.series import USUAL_SERIES
from worker.runtime.consent_parts import erase
from worker.runtime.sync_parts import build_inline


def flags(parts: Parts, account_id: str) -> list[str | None]:
    """Return the flags of both series, as an operator reads them with redis-cli."""
    keys = [f"releve:history_loaded:{series}:{account_id[:3]}" for series in USUAL_SERIES]
    return [parts.stores.redis.hget(key, account_id) for key in keys]  # type: ignore[misc]


def test_a_lost_flag_comes_back_with_the_next_night_and_nothing_is_asked_again(installation: Installation) -> None:
    quota = {"calls_per_second": "0", "calls_per_hour": "0"}
    with (
        serve_in_background(SimulatorOptions(pretend_now=NOW)) as supplier,
        installation.open(**quota, enedis_url=supplier) as parts,
    ):
        account, _ = parts.stores.registry.accounts.add(ENEDIS.name, "12345678901299", parts.stores.now())
        inline = build_inline(parts.stores, parts.sync, print_line=print)
        assert flags(parts, account.id) == [None, None]
        asked = list(inline.run_history(account.id))
        assert asked and flags(parts, account.id) == ["1", "1"]
        history_of_0_2_0 = ("releve:history:daily:zzz", "zzz", "?2024-07-01/2024-07-08")
        parts.stores.redis.flushdb()
        parts.stores.redis.hset(*history_of_0_2_0)
        assert list(inline.run_history(account.id)) == [], "the registry knows it"
        assert flags(parts, account.id) == [None, None]
        assert [result["series"] for result in inline.run_look_back(account.id)] == [
            series.value for series in USUAL_SERIES
        ]
        assert flags(parts, account.id) == ["1", "1"]
        key, field, windows = history_of_0_2_0
        assert list(parts.stores.redis.scan_iter("releve:history:*")) == [key]
        assert parts.stores.redis.hgetall(key) == {field: windows}, "workers of 0.2.0 go on with theirs"
        parts.stores.redis.hset(f"releve:history:daily:{account.id[:3]}", account.id, windows)
        erase(parts.stores, account.id)
        assert flags(parts, account.id) == [None, None]
        assert list(parts.stores.redis.scan_iter("releve:history:*")) == [key], (
            "an erasure leaves nothing of the account"
        )
