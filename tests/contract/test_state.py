"""What is remembered in Redis, on a real server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from worker.domain.readings import DateWindow, Series
from worker.domain.windows import merge_windows
from worker.errors import StoreUnavailable
from worker.stores.redis_link import check_eviction, connect
from worker.stores.state import SyncState
from worker.supervisor import free_port

DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE
WEEK = DateWindow(date(2024, 3, 4), date(2024, 3, 11))


@pytest.fixture
def state(redis: Redis, prefix: str) -> SyncState:
    return SyncState(redis, prefix)


def window(first: int, days: int) -> DateWindow:
    start = date(2024, 1, 1) + timedelta(days=first)
    return DateWindow(start, start + timedelta(days=days))


def test_an_account_never_seen_has_nothing(state: SyncState) -> None:
    assert state.done_windows("acc", DAILY) == []
    assert not state.has_history("acc", DAILY)
    assert state.history_loaded_until("acc", DAILY) is None
    assert state.task_state("acc", DAILY) == {}
    assert state.attempts("acc", DAILY, WEEK, run="r") == 0
    assert not state.is_claimed("acc", DAILY, "backfill")
    assert state.get_secret("token") is None
    assert state.get_cursor("nightly") is None
    assert state.forget("acc") == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds(window, st.integers(0, 60), st.integers(1, 15)), min_size=1, max_size=8))
def test_days_marked_done_are_remembered_in_the_fewest_windows(state: SyncState, windows: list[DateWindow]) -> None:
    account = uuid4().hex
    for done in windows:
        state.mark_done(account, DAILY, done)
    assert state.done_windows(account, DAILY) == merge_windows(windows)
    assert state.done_windows(account, CURVE) == []


def test_windows_marked_at_the_same_time_are_all_kept(state: SyncState) -> None:
    every_other = [window(2 * n, 1) for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda done: state.mark_done("acc", DAILY, done), every_other))
    assert state.done_windows("acc", DAILY) == every_other


def test_merged_windows_leave_no_old_ones_behind(state: SyncState, redis: Redis, prefix: str) -> None:
    state.replace_done("acc", CURVE, [window(0, 7), window(14, 7)])
    state.mark_done("acc", CURVE, window(7, 7))
    assert redis.smembers(f"{prefix}history:acc:load_curve") == {"known", str(window(0, 21))}


def test_coverage_is_known_only_once_it_was_told_as_a_whole(state: SyncState) -> None:
    state.mark_done("acc", DAILY, WEEK)  # e.g. the first window to finish after Redis was emptied
    assert not state.has_history("acc", DAILY)
    state.replace_done("acc", DAILY, [])
    assert state.has_history("acc", DAILY)
    assert state.done_windows("acc", DAILY) == []
    state.mark_done("acc", DAILY, WEEK)
    assert state.has_history("acc", DAILY)
    assert state.done_windows("acc", DAILY) == [WEEK]


def test_loaded_flags_come_in_the_order_of_the_page(state: SyncState) -> None:
    state.set_history_loaded("b", DAILY, date(2024, 7, 25))
    assert state.loaded_flags(["a", "b", "c"], DAILY) == [None, date(2024, 7, 25), None]
    assert state.loaded_flags(["b"], CURVE) == [None]
    assert state.loaded_flags([], DAILY) == []
    assert state.history_loaded_until("b", DAILY) == date(2024, 7, 25)


def test_notes_of_a_run_add_up_and_end_after_ninety_days(state: SyncState, redis: Redis, prefix: str) -> None:
    state.note_task("acc", DAILY, state="ok", error="VENDOR_DOWN")
    state.note_task("acc", DAILY, error="", done="3")
    state.note_task("acc", DAILY)
    assert state.task_state("acc", DAILY) == {"state": "ok", "error": "", "done": "3"}
    assert state.task_states([("acc", CURVE), ("acc", DAILY)]) == [{}, state.task_state("acc", DAILY)]
    assert state.task_states([]) == []
    assert 89 < redis.ttl(f"{prefix}task:acc:daily") / 86400 <= 90


def test_work_is_claimed_by_one(state: SyncState) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: state.claim("acc", DAILY, "2024-07-25", 60), range(20)))
    assert got.count(True) == 1
    assert state.claim("acc", DAILY, "2024-07-26", 60)
    state.release("acc", DAILY, "2024-07-25")
    assert state.claim("acc", DAILY, "2024-07-25", 60)
    assert state.claimed_flags(["acc", "other"], DAILY, "2024-07-25") == [True, False]
    assert state.claimed_flags([], DAILY, "2024-07-25") == []


def test_an_extended_claim_keeps_its_time_of_publishing(state: SyncState, redis: Redis, prefix: str) -> None:
    state.claim("acc", DAILY, "night", 5)
    published = redis.get(f"{prefix}inflight:acc:daily:night")
    assert state.extend("acc", DAILY, "night", 60)
    assert redis.get(f"{prefix}inflight:acc:daily:night") == f"w{published}"
    assert redis.ttl(f"{prefix}inflight:acc:daily:night") > 5
    assert not state.extend("acc", DAILY, "other", 60)
    assert not state.is_claimed("acc", DAILY, "other")


def test_old_claims_are_dropped_and_young_ones_kept(state: SyncState, redis: Redis, prefix: str) -> None:
    for account in ("a", "b"):
        state.claim(account, DAILY, "night", 60)
    redis.set(f"{prefix}inflight:a:daily:night", time.time() - 1000, ex=60)
    SyncState(redis, "test-other:").claim("a", DAILY, "night", 60)
    assert state.drop_claims_older_than(900) == 1
    assert not state.is_claimed("a", DAILY, "night")
    assert state.is_claimed("b", DAILY, "night")
    assert state.drop_claims_older_than(0) == 1


def test_attempts_are_counted_per_run_and_window(state: SyncState, redis: Redis, prefix: str) -> None:
    assert [state.count_attempt("acc", DAILY, WEEK, run="mon") for _ in range(3)] == [1, 2, 3]
    assert state.count_attempt("acc", DAILY, WEEK, run="tue") == 1
    assert state.count_attempt("acc", DAILY, window(0, 1), run="mon", times=5) == 5
    assert state.attempts("acc", DAILY, WEEK, run="mon") == 3
    state.clear_attempts("acc", DAILY, WEEK, run="mon")
    assert state.attempts("acc", DAILY, WEEK, run="mon") == 0
    assert all(redis.ttl(key) > 0 for key in redis.scan_iter(f"{prefix}*"))


def test_a_lock_has_one_holder_at_a_time(state: SyncState) -> None:
    inside, most = [], []

    def work(number: int) -> None:
        with state.lock("token", ttl_s=30):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))
    assert most == [1] * 24


def test_a_busy_lock_is_a_result_or_try_again_later(state: SyncState) -> None:
    with state.try_lock("token", ttl_s=30) as got, state.try_lock("token", ttl_s=30) as second:
        assert (got, second) == (True, False)
        busy = pytest.raises(StoreUnavailable, match="lock token stays busy")
        with busy as caught, state.lock("token", ttl_s=30, wait_s=0.1):
            pytest.fail("two holders")
        assert caught.value.retry_after_s == 30
    with state.try_lock("token", ttl_s=30) as free:
        assert free


def test_a_lock_that_ended_before_its_holder_is_told_and_harmless(
    state: SyncState, redis: Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with state.lock("token", ttl_s=30):
        redis.delete(f"{prefix}lock:token")
    assert "a lock outlived its time to live" in caplog.text and "lock=token" in caplog.text


def until(happened: Callable[[], object]) -> None:
    give_up = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_lock_is_prolonged_while_its_holder_lives(state: SyncState, redis: Redis, prefix: str) -> None:
    with state.lock("token", ttl_s=5, most_s=60):
        redis.pexpire(f"{prefix}lock:token", 2_000)  # as if three seconds had passed
        until(lambda: redis.pttl(f"{prefix}lock:token") > 2_000)
        with state.try_lock("token", ttl_s=30) as second:
            assert not second


def test_a_lock_is_not_prolonged_for_ever(state: SyncState) -> None:
    def another_gets_in() -> bool:
        with state.try_lock("token", ttl_s=30) as second:
            return second

    with state.lock("token", ttl_s=0.3, most_s=0.5):
        until(another_gets_in)


def test_a_lock_that_another_has_by_now_is_not_prolonged(state: SyncState, redis: Redis, prefix: str) -> None:
    with state.lock("token", ttl_s=0.4, most_s=60):
        redis.set(f"{prefix}lock:token", "another", px=30_000)
        until(lambda: not any(thread.name == "keeps token" for thread in threading.enumerate()))
        assert redis.pttl(f"{prefix}lock:token") > 0.4 * 1000
    assert redis.get(f"{prefix}lock:token") == "another"


def test_the_lock_of_a_killed_holder_is_free_when_its_time_is_over(
    state: SyncState, redis_url: str, prefix: str
) -> None:
    die_holding = f"""
import os, redis
from worker.stores.state import SyncState
client = redis.Redis.from_url({redis_url!r}, decode_responses=True)
with SyncState(client, {prefix!r}).lock("token", ttl_s=1, most_s=30):
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", die_holding], check=False).returncode == 9
    with state.lock("token", ttl_s=1, wait_s=5):
        pass


def test_a_failure_inside_a_lock_goes_out_and_frees_it(state: SyncState) -> None:
    with pytest.raises(KeyError), state.lock("token", ttl_s=30):
        raise KeyError("the caller's own")
    with state.try_lock("token", ttl_s=30) as got:
        assert got


def test_a_lease_is_renewed_by_its_holder_alone(state: SyncState, redis: Redis, prefix: str) -> None:
    assert state.lease("beat", "one", 30)
    assert not state.lease("beat", "two", 30)
    assert state.lease("beat", "one", 90)
    assert redis.ttl(f"{prefix}lease:beat") > 30
    redis.delete(f"{prefix}lease:beat")
    assert state.lease("beat", "two", 30)


def test_a_slot_is_given_once(state: SyncState) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: state.slot("nightly:2024-07-25", 60), range(20)))
    assert got.count(True) == 1


def test_secrets_and_cursors_end_by_themselves(state: SyncState, redis: Redis, prefix: str) -> None:
    state.put_secret("app", "sealed", 60)
    state.put_cursor("nightly", "acc-7", 60)
    assert (state.get_secret("app"), state.get_cursor("nightly")) == ("sealed", "acc-7")
    assert all(0 < redis.ttl(key) <= 60 for key in redis.scan_iter(f"{prefix}*"))


@pytest.mark.parametrize("account", ["acc", "a*", "a[b]?\\"])
def test_forgetting_an_account_leaves_the_others_alone(
    state: SyncState, redis: Redis, prefix: str, account: str
) -> None:
    for each in (account, "account", "acc2", "abc"):
        state.mark_done(each, DAILY, WEEK)
        state.set_history_loaded(each, DAILY, WEEK.end)
        state.note_task(each, CURVE, state="ok")
        state.claim(each, CURVE, "night", 60)
        state.count_attempt(each, DAILY, WEEK, run="r")
        state.put_secret(f"token:{each}", "sealed", 60)
    kept = {key for key in redis.scan_iter(f"{prefix}*") if account not in key.split(":")}
    with state.lock(f"account:{account}", ttl_s=30):
        assert state.forget(account) == 6
    assert set(redis.scan_iter(f"{prefix}*")) == kept
    assert state.forget(account) == 0


def test_redis_emptied_in_between_is_forgetting_and_no_more(state: SyncState, redis: Redis, prefix: str) -> None:
    state.replace_done("acc", DAILY, [WEEK])
    state.claim("acc", DAILY, "night", 60)
    redis.delete(*redis.scan_iter(f"{prefix}*"))
    redis.script_flush()
    assert not state.has_history("acc", DAILY)
    assert state.claim("acc", DAILY, "night", 60)
    assert state.lease("beat", "one", 30)


def test_an_unreachable_redis_means_try_again_later() -> None:
    with connect(f"redis://:secret@127.0.0.1:{free_port()}/0") as nobody:
        state = SyncState(nobody)
        with pytest.raises(StoreUnavailable, match=r"Redis can't be used: .*refused") as caught:
            state.done_windows("acc", DAILY)
        assert "secret" not in str(caught.value)
        with pytest.raises(StoreUnavailable), state.lock("token", ttl_s=1):
            pytest.fail("no lock without Redis")


def test_what_a_refusal_quotes_stays_out_of_the_error(state: SyncState, redis: Redis, prefix: str) -> None:
    redis.set(f"{prefix}history:acc:daily", "not a set")
    with pytest.raises(StoreUnavailable) as caught:
        state.done_windows("acc", DAILY)
    assert str(caught.value) == "Redis can't be used: it refused with WRONGTYPE"


def test_a_redis_that_evicts_is_refused_with_the_mend(redis: Redis) -> None:
    check_eviction(redis)
    try:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(StoreUnavailable, match=r"allkeys-lru.*set maxmemory-policy noeviction"):
            check_eviction(redis)
    finally:
        redis.config_set("maxmemory-policy", "noeviction")


FORK = """
import os, sys
from worker.stores.redis_link import connect
client, prefix = connect(sys.argv[1]), sys.argv[2]
client.ping()
children = []
for child in range(3):
    if (pid := os.fork()) == 0:
        key = f"{prefix}{child}"
        right = all(client.set(key, n, ex=60) and client.get(key) == str(n) for n in range(200))
        os._exit(0 if right else 1)
    children.append(pid)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


def test_a_client_used_before_a_fork_is_safe_after_it(redis_url: str, prefix: str) -> None:
    subprocess.run([sys.executable, "-c", FORK, redis_url, prefix], check=True, timeout=60)
