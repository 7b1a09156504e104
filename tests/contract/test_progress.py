"""The progress store on a real Redis server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from worker.domain.fleet.outcomes import AnswerClass, Call
from worker.domain.measures.readings import PARIS, DateWindow, Series
from worker.domain.measures.windows import merge_windows, plan_look_back
from worker.errors import StoreUnavailable
from worker.stores.redis.child_processes import free_port
from worker.stores.redis.claims import ClaimRequest
from worker.stores.redis.connection import check_eviction, connect
from worker.stores.redis.progress import ProgressStore
from worker.stores.redis.series_progress import LastNight

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
    assert state.done_windows("acc", DAILY) == []
    assert not state.has_history("acc", DAILY)
    assert state.task_state("acc", DAILY) == {}
    assert state.attempts("acc", DAILY, WEEK, run="r") == 0
    assert not state.is_claimed("acc", DAILY, "backfill")
    assert state.get_secret("token") is None
    assert state.get_cursor("nightly") is None
    assert state.forget("acc") == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds(window, st.integers(0, 60), st.integers(1, 15)), min_size=1, max_size=8))
def test_days_marked_done_are_remembered_in_the_fewest_windows(state: ProgressStore, windows: list[DateWindow]) -> None:
    account = uuid4().hex
    for done in windows:
        state.mark_done(account, DAILY, done)
    assert state.done_windows(account, DAILY) == merge_windows(windows)
    assert state.done_windows(account, CURVE) == []


def test_windows_marked_at_the_same_time_are_all_kept(state: ProgressStore) -> None:
    every_other = [window(2 * n, 1) for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda done: state.mark_done("acc", DAILY, done), every_other))
    assert state.done_windows("acc", DAILY) == every_other


def test_merged_windows_leave_no_old_ones_behind(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.replace_done("acc", CURVE, [window(0, 7), window(14, 7)])
    state.mark_done("acc", CURVE, window(7, 7))
    assert redis.hgetall(f"{prefix}days:load_curve:acc") == {"acc": str(window(0, 21))}
    assert not redis.exists(f"{prefix}history:acc:load_curve")


def test_coverage_is_known_only_once_it_was_told_as_a_whole(state: ProgressStore) -> None:
    state.mark_done("acc", DAILY, WEEK)  # For example, the first window to finish after Redis was emptied.
    assert not state.has_history("acc", DAILY)
    state.replace_done("acc", DAILY, [])
    assert state.has_history("acc", DAILY)
    assert state.done_windows("acc", DAILY) == []
    state.mark_done("acc", DAILY, WEEK)
    assert state.has_history("acc", DAILY)
    assert state.done_windows("acc", DAILY) == [WEEK]


def test_coverages_and_nights_come_in_the_order_of_the_page(state: ProgressStore) -> None:
    state.replace_done("b", DAILY, [WEEK, window(0, 2)])
    state.mark_done("b1", CURVE, WEEK)
    state.record_night("b1", CURVE, NIGHT, CALL)
    pairs = [("a", DAILY), ("b1", CURVE), ("b", DAILY), ("b", CURVE)]
    assert state.coverages(pairs) == [
        (False, []),
        (False, [WEEK]),
        (True, [window(0, 2), WEEK]),
        (False, []),
    ]
    assert [last and last.night for last in state.last_nights(pairs)] == [None, NIGHT, None, None]
    assert (state.coverages([]), state.last_nights([])) == ([], [])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.builds(window, st.integers(0, 60), st.integers(1, 15)),
            st.lists(st.builds(window, st.integers(0, 60), st.integers(1, 15)), max_size=3),
            st.dates(date(2024, 7, 1), date(2024, 7, 9)),
        ),
        max_size=8,
    )
)
def test_days_and_nights_of_one_field_leave_each_other_alone(
    state: ProgressStore, steps: list[DateWindow | list[DateWindow] | date]
) -> None:
    account, is_known, done, night = uuid4().hex, False, list[DateWindow](), None
    for step in steps:
        if isinstance(step, DateWindow):
            done = merge_windows([*done, step])
            assert state.mark_done(account, DAILY, step) == done
        elif isinstance(step, list):
            is_known, done = True, merge_windows(step)
            state.replace_done(account, DAILY, step)
        else:
            night = max(night or step, step)
            state.record_night(account, DAILY, step, CALL)
        assert state.coverages([(account, DAILY)]) == [(is_known, done)]
        (last,) = state.last_nights([(account, DAILY)])
        assert (last.night if last else None) == night


def test_what_was_kept_as_a_set_is_read_and_taken_over(state: ProgressStore, redis: Redis, prefix: str) -> None:
    redis.sadd(f"{prefix}history:acc:daily", "known", str(window(0, 7)))
    redis.set(f"{prefix}history_loaded:acc:daily", "2024-01-08")
    assert state.coverages([("acc", DAILY)]) == [(True, [window(0, 7)])]
    state.record_night("acc", DAILY, NIGHT, CALL)
    assert state.has_history("acc", DAILY)
    state.mark_done("acc", DAILY, window(7, 1))
    assert state.coverages([("acc", DAILY)]) == [(True, [window(0, 8)])]
    assert redis.keys(f"{prefix}*") == [f"{prefix}days:daily:acc"]


@pytest.mark.parametrize("minutes", [-3_000_000, -1, 0, 1, 1439, 4000])
@pytest.mark.parametrize("answer", ["data", "no_data", "unusable", "before_history"])
def test_a_night_tells_when_it_was_asked_and_what_came(state: ProgressStore, minutes: int, answer: str) -> None:
    at = datetime(2024, 7, 25, tzinfo=UTC) + timedelta(minutes=minutes)
    call = Call(at, plan_look_back(at.astimezone(PARIS).date(), CURVE), AnswerClass(answer), "nightly")
    state.record_night("acc", CURVE, NIGHT, call)
    assert state.last_nights([("acc", CURVE)]) == [(LastNight(NIGHT, call))]


def test_a_night_is_not_put_back_by_an_older_one_that_ends_later(state: ProgressStore) -> None:
    for night in (NIGHT, NIGHT - timedelta(days=1)):
        state.record_night("acc", DAILY, night, CALL)
    assert [last and last.night for last in state.last_nights([("acc", DAILY)])] == [NIGHT]


def test_a_night_of_a_date_to_come_gives_way(state: ProgressStore) -> None:
    for night in (date(2030, 1, 1), NIGHT):
        state.record_night("acc", DAILY, night, CALL)
    assert [last and last.night for last in state.last_nights([("acc", DAILY)])] == [NIGHT]


def test_a_cursor_is_moved_by_whoever_saw_it_last(state: ProgressStore) -> None:
    assert state.move_cursor("c", None, "1", 60) == "1"
    assert state.move_cursor("c", None, "other", 60) == "1"
    assert state.move_cursor("c", "1", "2", 60) == "2"
    assert state.move_cursor("c", "1", "3", 60) == "2"
    assert state.move_cursor("gone", "5", "6", 60) is None
    assert (state.get_cursor("c"), state.get_cursor("gone")) == ("2", None)


def test_forty_accounts_of_a_hash_stay_packed_and_small(state: ProgressStore, redis: Redis, prefix: str) -> None:
    """A million accounts take some 60 bytes each, as ``docs/reference/redis-keys.md`` says."""
    accounts = [f"k9x{number:09d}" for number in range(44)]
    for account in accounts:
        state.replace_done(account, DAILY, [DateWindow(date(2021, 11, 25), date(2024, 11, 24))])
        state.record_night(account, DAILY, NIGHT, CALL)
    key = f"{prefix}days:daily:k9x"
    assert redis.object("encoding", key) in ("listpack", "ziplist")
    assert redis.memory_usage(key) / len(accounts) < 75


def test_notes_of_a_run_add_up_and_end_after_ninety_days(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.record_task("acc", DAILY, state="ok", error="VENDOR_DOWN")
    state.record_task("acc", DAILY, error="", done="3")
    state.record_task("acc", DAILY)
    assert state.task_state("acc", DAILY) == {"state": "ok", "error": "", "done": "3"}
    assert state.task_states([("acc", CURVE), ("acc", DAILY)]) == [{}, state.task_state("acc", DAILY)]
    assert state.task_states([]) == []
    assert 89 < redis.ttl(f"{prefix}task:acc:daily") / 86400 <= 90


def test_work_is_claimed_by_one(state: ProgressStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: state.claim("acc", DAILY, "2024-07-25", 60), range(20)))
    assert answers.count(True) == 1
    assert state.claim("acc", DAILY, "2024-07-26", 60)
    state.release_claim("acc", DAILY, "2024-07-25")
    assert state.claim("acc", DAILY, "2024-07-25", 60)
    assert state.claimed_flags(["acc", "other"], DAILY, "2024-07-25") == [True, False]
    assert state.claimed_flags([], DAILY, "2024-07-25") == []


def test_an_extended_claim_keeps_its_time_of_publishing(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.claim("acc", DAILY, "night", 5)
    published = redis.get(f"{prefix}inflight:acc:daily:night")
    assert state.extend_claim("acc", DAILY, "night", 60)
    assert redis.get(f"{prefix}inflight:acc:daily:night") == f"w{published}"
    assert redis.ttl(f"{prefix}inflight:acc:daily:night") > 5
    assert not state.extend_claim("acc", DAILY, "other", 60)
    assert not state.is_claimed("acc", DAILY, "other")


def test_old_claims_are_dropped_and_young_ones_kept(state: ProgressStore, redis: Redis, prefix: str) -> None:
    for account in ("a", "b"):
        state.claim(account, DAILY, "night", 60)
    redis.set(f"{prefix}inflight:a:daily:night", time.time() - 1000, ex=60)
    ProgressStore(redis, "test-other:").claim("a", DAILY, "night", 60)
    assert state.drop_claims_older_than(900) == 1
    assert not state.is_claimed("a", DAILY, "night")
    assert state.is_claimed("b", DAILY, "night")
    assert state.drop_claims_older_than(0) == 1


def test_attempts_are_counted_per_run_and_window(state: ProgressStore, redis: Redis, prefix: str) -> None:
    assert [state.count_attempt("acc", DAILY, WEEK, run="mon") for _ in range(3)] == [1, 2, 3]
    assert state.count_attempt("acc", DAILY, WEEK, run="tue") == 1
    assert state.count_attempt("acc", DAILY, window(0, 1), run="mon", times=5) == 5
    assert state.attempts("acc", DAILY, WEEK, run="mon") == 3
    state.clear_attempts("acc", DAILY, WEEK, run="mon")
    assert state.attempts("acc", DAILY, WEEK, run="mon") == 0
    assert all(redis.ttl(key) > 0 for key in redis.scan_iter(f"{prefix}*"))


def test_a_try_is_claimed_and_counted_in_one_go(state: ProgressStore, redis: Redis, prefix: str) -> None:
    def claimed(holder: str) -> bool:
        requests = [ClaimRequest("acc", DAILY, "night", WEEK, holder)]
        return state.claim_windows(requests, 60, run="mon", times=4, limit=8) == [True]

    assert [claimed("first"), claimed("second")] == [True, False]
    assert state.attempts("acc", DAILY, WEEK, run="mon") == 4, "who got no claim tries nothing"
    state.release_claim("acc", DAILY, "night", holder="second")
    assert state.is_claimed("acc", DAILY, "night")
    state.release_claim("acc", DAILY, "night", holder="first")
    assert claimed("third")
    state.release_claim("acc", DAILY, "night", holder="third")
    assert not claimed("fourth"), "tried too often"
    assert not state.is_claimed("acc", DAILY, "night")
    assert all(redis.ttl(key) > 0 for key in redis.scan_iter(f"{prefix}*"))


def test_many_tries_are_claimed_each_for_itself_in_one_packet(state: ProgressStore, redis: Redis, prefix: str) -> None:
    requests = [ClaimRequest(account, DAILY, "night", WEEK, f"run of {account}") for account in ("a1", "b2", "c3")]
    state.claim("b2", DAILY, "night", 60, holder="another")
    redis.script_flush()  # A Redis that has just started doesn't have the scripts either.
    assert state.claim_windows(requests, 60, run="mon", times=4, limit=8) == [True, False, True]
    assert [state.attempts(account, DAILY, WEEK, run="mon") for account in ("a1", "b2", "c3")] == [4, 0, 4]
    state.release_claim("a1", DAILY, "night", holder="run of a1")
    state.release_claim("c3", DAILY, "night", holder="run of a1")  # The claim is another holder's.
    assert [state.is_claimed(account, DAILY, "night") for account in ("a1", "b2", "c3")] == [False, True, True]
    assert state.claim_windows([], 60, run="mon", times=4, limit=8) == []


def test_notes_made_together_are_all_there_at_the_end_of_the_block(state: ProgressStore, redis: Redis) -> None:
    state.claim("acc", DAILY, "night", 60, holder="run")
    state.count_attempt("acc", DAILY, WEEK, run="mon", times=4)
    redis.script_flush()
    with state.batch() as batch:
        batch.record_success("acc", DAILY, CALL, state="ok")
        batch.record_night("acc", DAILY, NIGHT, CALL)
        batch.clear_attempts("acc", DAILY, WEEK, run="mon")
        batch.release_claim("acc", DAILY, "night", holder="run")
        assert state.is_claimed("acc", DAILY, "night"), "nothing is sent before the end"
    assert state.task_state("acc", DAILY)["state"] == "ok"
    assert [night.night for night in state.last_nights([("acc", DAILY)]) if night] == [NIGHT]
    assert state.attempts("acc", DAILY, WEEK, run="mon") == 0
    assert not state.is_claimed("acc", DAILY, "night")


def test_of_a_block_that_fails_nothing_is_sent(state: ProgressStore) -> None:
    with pytest.raises(ZeroDivisionError), state.batch() as batch:
        batch.record_success("acc", DAILY, CALL, state="ok")
        batch.clear_attempts("acc", DAILY, WEEK, run="mon")
        raise ZeroDivisionError
    assert state.task_state("acc", DAILY) == {}


def test_a_packet_that_redis_refuses_is_an_outage_in_plain_words(
    state: ProgressStore, redis: Redis, prefix: str
) -> None:
    redis.set(f"{prefix}task:acc:daily", "no hash")
    with (
        pytest.raises(StoreUnavailable, match=r"^Redis can't be used: it refused with WRONGTYPE$"),
        state.batch() as batch,
    ):
        batch.record_success("acc", DAILY, CALL, state="ok")


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
        busy = pytest.raises(StoreUnavailable, match="lock token stays busy")
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
from worker.stores.redis.progress import ProgressStore
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


def test_secrets_and_cursors_end_by_themselves(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.put_secret("app", "sealed", 60)
    state.put_cursor("nightly", "acc-7", 60)
    assert (state.get_secret("app"), state.get_cursor("nightly")) == ("sealed", "acc-7")
    assert all(0 < redis.ttl(key) <= 60 for key in redis.scan_iter(f"{prefix}*"))


@pytest.mark.parametrize("account", ["acc", "a*", "a[b]?\\"])
def test_forgetting_an_account_leaves_the_others_alone(
    state: ProgressStore, redis: Redis, prefix: str, account: str
) -> None:
    for name in (account, "account", "acc2", "abc"):
        state.mark_done(name, DAILY, WEEK)
        state.record_task(name, CURVE, state="ok")
        state.claim(name, CURVE, "night", 60)
        state.count_attempt(name, DAILY, WEEK, run="r")
        state.put_secret(f"token:{name}", "sealed", 60)
    bucket = f"{prefix}days:daily:{account[:3]}"
    shared = {name: value for name, value in redis.hgetall(bucket).items() if name != account}
    other_keys = {key for key in redis.scan_iter(f"{prefix}*") if account not in key.split(":")} - {bucket}
    other_keys |= {bucket} if shared else set()
    with state.lock(f"account:{account}", ttl_s=30):
        assert state.forget(account) == 5
    assert set(redis.scan_iter(f"{prefix}*")) == other_keys
    assert redis.hgetall(bucket) == shared
    assert state.forget(account) == 0


def test_redis_emptied_in_between_is_forgetting_and_no_more(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.replace_done("acc", DAILY, [WEEK])
    state.claim("acc", DAILY, "night", 60)
    redis.delete(*redis.scan_iter(f"{prefix}*"))
    redis.script_flush()
    assert not state.has_history("acc", DAILY)
    assert state.claim("acc", DAILY, "night", 60)
    assert state.slot("nightly", 30)


@pytest.mark.sockets
def test_an_unreachable_redis_means_try_again_later() -> None:
    with connect(f"redis://:secret@127.0.0.1:{free_port()}/0") as nobody:
        state = ProgressStore(nobody)
        with pytest.raises(StoreUnavailable, match=r"Redis can't be used: .*refused") as caught:
            state.done_windows("acc", DAILY)
        assert "secret" not in str(caught.value)
        with pytest.raises(StoreUnavailable), state.lock("token", ttl_s=1):
            pytest.fail("no lock without Redis")


def test_what_a_refusal_quotes_stays_out_of_the_error(state: ProgressStore, redis: Redis, prefix: str) -> None:
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
