"""The progress store on a real Redis server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from redis import Redis

from worker.domain.calls import AnswerClass, Call
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import StoreUnavailable
from worker.stores.child_processes import free_port
from worker.stores.redis.claims import ProgressStore, member_of
from worker.stores.redis.connection import check_eviction, connect

DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE
WEEK = DateWindow(date(2024, 3, 4), date(2024, 3, 11))
NIGHT = date(2024, 7, 25)
CALL = Call(datetime(2024, 7, 25, 7, 0, tzinfo=UTC), WEEK, AnswerClass.DATA, "nightly")


@pytest.fixture
def state(redis: Redis, prefix: str) -> ProgressStore:
    return ProgressStore(redis, prefix)


def window(first: int, days: int) -> DateWindow:
    start = date(2024, 1, 1) + timedelta(days=first)
    return DateWindow(start, start + timedelta(days=days))


def test_an_account_never_seen_has_nothing(state: ProgressStore) -> None:
    assert state.task_state("acc", DAILY) == {}
    assert state.failures("acc", DAILY) == {}
    assert state.claims_in("nightly", 60) == {}
    assert state.get_secret("token") is None
    assert state.get_text("audit") is None
    assert state.forget("acc") == 0


def test_a_loaded_history_is_noted_with_the_state_or_alone(state: ProgressStore, redis: Redis, prefix: str) -> None:
    key = f"{prefix}history_loaded:daily:acc"
    state.record_success("acc1", DAILY, CALL, True, brief=True)
    state.note_loaded("acc2", DAILY, loaded=True)
    assert redis.hgetall(key) == {"acc1": "1", "acc2": "1"}
    state.record_success("acc1", DAILY, CALL, False, state="ok")
    state.note_loaded("acc2", DAILY, loaded=False)
    assert not redis.exists(key)


def test_forty_accounts_of_a_hash_stay_packed_and_small(state: ProgressStore, redis: Redis, prefix: str) -> None:
    """A million accounts take some 20 bytes each, as ``docs/reference/redis-keys.md`` says."""
    accounts = [f"k9x{number:09d}" for number in range(44)]
    for account in accounts:
        state.note_loaded(account, DAILY, loaded=True)
    key = f"{prefix}history_loaded:daily:k9x"
    assert redis.object("encoding", key) in ("listpack", "ziplist")
    assert redis.memory_usage(key) / len(accounts) < 25


def test_notes_of_a_run_add_up_and_end_after_ninety_days(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.record_task("acc", DAILY, state="ok", error="VENDOR_DOWN")
    state.record_task("acc", DAILY, error="", done="3")
    state.record_task("acc", DAILY)
    assert state.task_state("acc", DAILY) == {"state": "ok", "error": "", "done": "3"}
    assert state.task_state("acc", CURVE) == {}
    assert 89 < redis.ttl(f"{prefix}task:acc:daily") / 86400 <= 90


def test_of_many_who_claim_a_window_one_gets_it(state: ProgressStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: state.claim_windows("nightly", ["a:daily", "b:daily"], 60), range(20)))
    for place in range(2):
        assert len([answer for answer in answers if answer[place]]) == 1
    claims = state.claims_in("nightly", 60)
    assert sorted(claims) == ["a:daily", "b:daily"]
    assert len(set(claims.values())) == 2


def test_a_claim_is_released_by_its_holder_alone(state: ProgressStore) -> None:
    (first,) = state.claim_windows("nightly", ["a:daily"], 60)
    assert state.claim_of("nightly", "a:daily") == first
    assert state.claim_of("repair", "a:daily") is None
    assert state.release_claims("nightly", {"a:daily": str(int(first) + 1), "b:daily": first}) == 0
    assert state.release_claims("nightly", {"a:daily": first}) == 1
    (second,) = state.claim_windows("nightly", ["a:daily"], 60)
    assert state.release_claims("nightly", {"a:daily": first}) == 0
    assert state.claims_in("nightly", 60) == {"a:daily": second}
    assert state.claims_in("nightly", 60, older_than_s=10) == {}
    assert state.claim_windows("nightly", [], 60) == []


def test_a_claim_expires_and_the_whole_lane_with_it(state: ProgressStore, redis: Redis, prefix: str) -> None:
    (first,) = state.claim_windows("nightly", ["a:daily"], 60)
    key = f"{prefix}inflight:nightly"
    redis.zadd(key, {"a:daily": int(first) - 61_000_000})
    assert state.claims_in("nightly", 60) == {}
    (second,) = state.claim_windows("nightly", ["a:daily"], 60)
    assert int(second) > int(first)
    assert 60 < redis.ttl(key) <= 120


def test_failures_of_a_history_are_counted_by_window_for_a_day(state: ProgressStore, redis: Redis, prefix: str) -> None:
    for _ in range(2):
        state.count_failure("acc", CURVE, WEEK)
    state.count_failure("acc", CURVE, window(0, 7))
    assert state.failures("acc", CURVE) == {WEEK: 2, window(0, 7): 1}
    assert state.failures("acc", DAILY) == {}
    assert redis.ttl(f"{prefix}failures:acc:load_curve") == 24 * 3600


def test_a_good_run_forgets_the_failures_that_it_makes_good(state: ProgressStore, redis: Redis, prefix: str) -> None:
    failures = {f"answer:outage:{run}": f"2024-07-24T07:00:00+00:00 {WEEK}" for run in ("nightly", "backfill")}
    state.record_task("acc", DAILY, state="failed", **failures)
    later = replace(CALL, window=DateWindow(WEEK.start + timedelta(days=1), WEEK.end + timedelta(days=1)))
    state.record_success("acc", DAILY, later, True, state="ok")
    assert [name for name in state.task_state("acc", DAILY) if "outage" in name] == ["answer:outage:backfill"]
    assert redis.ttl(f"{prefix}task:acc:daily") == 90 * 24 * 3600
    state.record_success("acc", DAILY, CALL, True, state="ok")
    assert [name for name in state.task_state("acc", DAILY) if "outage" in name] == []
    assert redis.ttl(f"{prefix}task:acc:daily") == 15 * 60


def test_a_brief_success_makes_no_hash(state: ProgressStore) -> None:
    state.record_success("acc", DAILY, CALL, True, brief=True, state="ok")
    assert state.task_state("acc", DAILY) == {}
    state.record_task("acc", DAILY, state="failed")
    state.record_success("acc", DAILY, CALL, True, brief=True, state="ok")
    assert state.task_state("acc", DAILY)["state"] == "ok"


def is_free(state: ProgressStore) -> bool:
    """Return whether the lock can be taken at once; it is given back then."""
    try:
        with state.lock("token", ttl_s=30, wait_s=0):
            return True
    except StoreUnavailable:
        return False


def test_a_lock_has_one_holder_at_a_time(state: ProgressStore) -> None:
    inside, most = [], []

    def work(number: int) -> None:
        with state.lock("token", ttl_s=30):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))
    assert most == [1] * 24


def test_a_busy_lock_is_a_result_or_try_again_later(state: ProgressStore) -> None:
    with state.lock("token", ttl_s=30):
        busy = pytest.raises(StoreUnavailable, match="lock token is still held")
        with busy as caught, state.lock("token", ttl_s=30, wait_s=0.1):
            pytest.fail("two holders")
        assert caught.value.retry_after_s == 30
    assert is_free(state)


def test_a_lock_that_ended_before_its_holder_is_told_and_harmless(
    state: ProgressStore, redis: Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with state.lock("token", ttl_s=30):
        redis.delete(f"{prefix}lock:token")
    assert "a lock outlived its time to live" in caplog.text and "lock=token" in caplog.text


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lock_is_prolonged_while_its_holder_lives(state: ProgressStore, redis: Redis, prefix: str) -> None:
    with state.lock("token", ttl_s=5, most_s=60):
        redis.pexpire(f"{prefix}lock:token", 2_000)  # As if three seconds had passed.
        wait_until(lambda: redis.pttl(f"{prefix}lock:token") > 2_000)
        assert not is_free(state)


def test_a_lock_is_not_prolonged_for_ever(state: ProgressStore) -> None:
    with state.lock("token", ttl_s=0.3, most_s=0.5):
        wait_until(lambda: is_free(state))


def test_a_lock_that_another_has_by_now_is_not_prolonged(state: ProgressStore, redis: Redis, prefix: str) -> None:
    with state.lock("token", ttl_s=0.4, most_s=60):
        redis.set(f"{prefix}lock:token", "another", px=30_000)
        wait_until(lambda: not any(thread.name == "keeps token" for thread in threading.enumerate()))
        assert redis.pttl(f"{prefix}lock:token") > 0.4 * 1000
    assert redis.get(f"{prefix}lock:token") == "another"


def test_the_lock_of_a_killed_holder_is_free_when_its_time_is_over(
    state: ProgressStore, redis_url: str, prefix: str
) -> None:
    die_holding = f"""
import os, redis
from worker.stores.redis.claims import ProgressStore
client = redis.Redis.from_url({redis_url!r}, decode_responses=True)
with ProgressStore(client, {prefix!r}).lock("token", ttl_s=1, most_s=30):
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", die_holding], check=False).returncode == 9
    with state.lock("token", ttl_s=1, wait_s=5):
        pass


def test_a_failure_inside_a_lock_goes_out_and_frees_it(state: ProgressStore) -> None:
    with pytest.raises(KeyError), state.lock("token", ttl_s=30):
        raise KeyError("the caller's own")
    assert is_free(state)


def test_a_slot_is_given_once(state: ProgressStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: state.slot("nightly:2024-07-25", 60), range(20)))
    assert answers.count(True) == 1


def test_secrets_and_texts_end_by_themselves(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.put_secret("app", "sealed", 60)
    state.put_text("audit", "{}", 60)
    assert (state.get_secret("app"), state.get_text("audit")) == ("sealed", "{}")
    assert all(0 < redis.ttl(key) <= 60 for key in redis.scan_iter(f"{prefix}*"))


@pytest.mark.parametrize("account", ["acc", "a*", "a[b]?\\"])
def test_forgetting_an_account_leaves_the_others_alone(
    state: ProgressStore, redis: Redis, prefix: str, account: str
) -> None:
    for name in (account, "account", "acc2", "abc"):
        state.note_loaded(name, DAILY, loaded=True)
        redis.hset(f"{prefix}history:daily:{name[:3]}", name, f"?{WEEK}")  # As version 0.2.0 has left it.
        state.record_task(name, CURVE, state="ok")
        state.claim_windows("nightly", [member_of(name, CURVE)], 60)
        state.count_failure(name, DAILY, WEEK)
        state.put_secret(f"token:{name}", "sealed", 60)
    buckets = [f"{prefix}{kind}:daily:{account[:3]}" for kind in ("history_loaded", "history")]
    shared = [{name: value for name, value in redis.hgetall(key).items() if name != account} for key in buckets]
    others = {member_of(name, CURVE) for name in (account, "account", "acc2", "abc")} - {member_of(account, CURVE)}
    other_keys = {key for key in redis.scan_iter(f"{prefix}*") if account not in key.split(":")} - set(buckets)
    other_keys |= set(buckets) if shared[0] else set()
    with state.lock(f"account:{account}", ttl_s=30):
        assert state.forget(account) == 6
    assert set(redis.scan_iter(f"{prefix}*")) == other_keys
    assert [redis.hgetall(key) for key in buckets] == shared
    assert set(state.claims_in("nightly", 60)) == others
    assert state.forget(account) == 0


def test_redis_emptied_in_between_is_forgetting_and_no_more(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.claim_windows("nightly", ["acc:daily"], 60)
    redis.delete(*redis.scan_iter(f"{prefix}*"))
    redis.script_flush()
    assert state.claim_windows("nightly", ["acc:daily"], 60) != [""]
    assert state.slot("nightly", 30)


@pytest.mark.sockets
def test_an_unreachable_redis_means_try_again_later() -> None:
    with connect(f"redis://:secret@127.0.0.1:{free_port()}/0") as nobody:
        state = ProgressStore(nobody)
        with pytest.raises(StoreUnavailable, match=r"Redis can't be used: .*refused") as caught:
            state.note_loaded("acc", DAILY, loaded=True)
        assert "secret" not in str(caught.value)
        with pytest.raises(StoreUnavailable), state.lock("token", ttl_s=1):
            pytest.fail("no lock without Redis")


def test_what_a_refusal_quotes_stays_out_of_the_error(state: ProgressStore, redis: Redis, prefix: str) -> None:
    redis.set(f"{prefix}history_loaded:daily:acc", "not a hash")
    with pytest.raises(StoreUnavailable) as caught:
        state.note_loaded("acc", DAILY, loaded=True)
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
from worker.stores.redis.connection import connect
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
