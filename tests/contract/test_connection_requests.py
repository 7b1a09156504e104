"""Connection requests in Redis: sealed, one a browser, due at their next try, gone after a week."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from worker.domain.connection_request import (
    TRANSITIONS,
    ConnectedAccount,
    ConnectionRequest,
    ProvenMeters,
    RequestEvent,
    RequestState,
)
from worker.domain.consents import ConsentKind, Proof
from worker.stores.encryption import Purpose, Sealer, generate_key
from worker.stores.redis.connection import connect
from worker.stores.redis.pending_consents import ConnectionRequests

NOW = datetime(2024, 7, 25, 7, tzinfo=UTC)
METER, OTHER = "30001640000011", "30001640000022"
NEW = ConnectionRequest(
    id="first",
    supplier="enedis",
    browser="b1",
    begun_on=date(2024, 7, 25),
    created_at=NOW,
    address="192.0.2.7",
    invitation_id="i1",
    session={"home1": 3},
    usage_points=(METER,),
    code="s3cret",
)
PROVEN = ProvenMeters(
    Proof.EXCHANGE,
    ConsentKind.CODE,
    (METER,),
    reference="900001",
    since=date(2024, 7, 25),
    token="t0ken",
    token_expires_at=NOW + timedelta(hours=3),
)


@pytest.fixture
def requests(redis_url: str) -> Iterator[ConnectionRequests]:
    redis = connect(redis_url)
    for key in redis.scan_iter("releve:connection_request*"):
        redis.delete(key)
    sealer = Sealer([generate_key()], Purpose.REDIS)
    yield ConnectionRequests(redis, sealer, lambda text: sha256(text.encode()).hexdigest())
    redis.close()


def all_texts(requests: ConnectionRequests) -> str:
    redis, texts = requests._redis, []
    for key in redis.scan_iter("releve:connection_request*"):
        read = {
            "string": redis.get,
            "list": lambda key: redis.lrange(key, 0, -1),
            "zset": lambda key: redis.zrange(key, 0, -1),
        }
        texts.append(f"{key} {read[redis.type(key)](key)}")
    return " ".join(texts)


def test_a_request_comes_back_as_it_was(requests: ConnectionRequests) -> None:
    request = replace(NEW, proven=PROVEN, tries=2, next_try_at=NOW, page="unavailable", new_holder=True)
    assert requests.create(request)
    assert requests.get("first") == request
    assert requests.get("other") is None


def test_a_request_of_0_2_0_reads_as_one_whose_consent_was_known(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    key, place = "releve:connection_request:first", "connection_request/first"
    stored = json.loads(requests._sealer.unseal(requests._redis.get(key), place))
    del stored["was_unknown"]
    requests._redis.set(key, requests._sealer.seal(json.dumps(stored), place))
    assert requests.get("first") == NEW and not NEW.was_unknown


def test_nothing_in_redis_names_a_meter_a_code_or_a_token(requests: ConnectionRequests) -> None:
    requests.create(replace(NEW, proven=PROVEN))
    content = all_texts(requests)
    assert not [secret for secret in (METER, "s3cret", "t0ken", "900001", "192.0.2.7") if secret in content]


def test_the_same_callback_twice_is_one_request(requests: ConnectionRequests) -> None:
    assert requests.create(NEW)
    assert not requests.create(replace(NEW, usage_points=(OTHER,)))
    assert requests.get("first") == NEW


def test_a_browser_has_one_request(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    requests.create(replace(NEW, id="second", usage_points=(OTHER,)))
    requests.create(replace(NEW, id="foreign", browser="b2", usage_points=(OTHER,)))
    assert [requests.get(name) is not None for name in ("first", "second", "foreign")] == [False, True, True]
    assert requests.list_due(NOW, 10) == ["foreign", "second"]


def test_a_request_is_found_by_the_name_that_its_browser_got_with_it_alone(requests: ConnectionRequests) -> None:
    request = replace(NEW, browser="new", known_as=("b1", "b0"))
    requests.create(request)
    assert requests.of_browser(["newer", "new", "b1"]) == request
    for names in (["b1", "b0"], ["b1"], ["stranger"], []):
        assert requests.of_browser(names) is None


def test_a_newer_request_takes_the_place_of_those_of_all_names_of_its_browser(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    requests.create(replace(NEW, id="planted", browser="thief", known_as=("b1",)))
    assert requests.get("first") is None
    requests.create(replace(NEW, id="third", browser="b3", known_as=("b2",)))
    requests.create(replace(NEW, id="of the thief", browser="t2", known_as=("b2",)))
    assert requests.get("third") is not None, "the name before is not the one that it is bound to"


def test_a_request_that_was_bound_anew_is_nobodys_else(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    renamed = replace(NEW, browser="b2", known_as=("b1",))
    requests.save(renamed)
    requests.bind(renamed)
    assert requests.of_browser(["b2"]) == renamed and requests.of_browser(["b1"]) is None


def test_a_name_opens_a_session_once_in_the_life_of_its_cookie(requests: ConnectionRequests) -> None:
    assert [requests.mark_opened(name) for name in ("b1", "b1", "b2")] == [True, False, True]
    assert 604_000 < requests._redis.ttl("releve:connection_requests:opened:b1") <= 604_800
    requests.unmark_opened("b1")  # The session could not be made.
    assert requests.mark_opened("b1")


def test_which_session_a_name_has_opened_is_known_for_as_long(requests: ConnectionRequests) -> None:
    requests.mark_opened("b1")
    assert requests.find_session("b1") == requests.find_session("b2") == ""
    requests.note_session("b1", "k3q7d0fr2mxx")
    assert requests.find_session("b1") == "k3q7d0fr2mxx" and not requests.mark_opened("b1")
    assert 604_000 < requests._redis.ttl("releve:connection_requests:opened:b1") <= 604_800


def test_what_has_come_of_a_request_outlives_the_browsers_next_one(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    requests.save(NEW.after(RequestEvent.PROVEN, accounts=(ConnectedAccount("home1", 1),)))
    requests.create(replace(NEW, id="second"))
    first = requests.get("first")
    assert first is not None and first.accounts == (ConnectedAccount("home1", 1),)


@pytest.mark.parametrize("place", [0, 20], ids=["the holder comes first", "the holder comes last"])
@pytest.mark.parametrize("named", [{"usage_points": (METER,)}, {"usage_points": (), "autorisation_id": 900001}])
def test_strangers_who_type_a_meter_or_a_consent_neither_push_out_its_holder_nor_keep_them_out(
    requests: ConnectionRequests, place: int, named: dict[str, object]
) -> None:
    typed = replace(NEW, invitation_id=None, code=None, **named)  # type: ignore[arg-type]
    strangers = [
        replace(typed, id=f"r{number}", browser=f"b{number}", address=f"2001:db8::{number}") for number in range(20)
    ]
    holder = replace(typed, id="holder", browser="home")
    assert all(map(requests.create, [*strangers[:place], holder, *strangers[place:]]))
    assert requests.of_browser(["home"]) == holder


def test_a_request_is_due_until_it_ends(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    waiting = NEW.waiting("unavailable", NOW, 60)
    requests.save(waiting)
    assert requests.list_due(NOW + timedelta(seconds=59), 10) == []
    assert requests.list_due(NOW + timedelta(seconds=60), 10) == ["first"]
    requests.save(waiting.after(RequestEvent.NOT_PROVEN))
    assert requests.list_due(NOW + timedelta(days=1), 10) == []


def test_a_request_that_was_replaced_does_not_come_back(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    requests.create(replace(NEW, id="second"))
    requests.save(NEW.waiting("unavailable", NOW))
    assert requests.get("first") is None


def test_an_end_forgets_the_meter_and_the_token_and_lasts_a_quarter_of_an_hour(requests: ConnectionRequests) -> None:
    requests.create(replace(NEW, proven=PROVEN))
    assert 604_000 < requests._redis.ttl("releve:connection_request:first") <= 604_800
    requests.save(replace(NEW, proven=PROVEN).after(RequestEvent.PROVEN, accounts=(ConnectedAccount("home1", 1),)))
    ended = requests.get("first")
    assert ended is not None and ended.state is RequestState.CONNECTED
    assert (ended.usage_points, ended.code, ended.proven) == ((), None, None)
    assert 0 < requests._redis.ttl("releve:connection_request:first") <= 900


def test_those_that_wait_for_the_operator_are_listed_until_somebody_decides(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    held = NEW.after(RequestEvent.TOO_MANY, page="held")
    requests.save(held)
    assert requests.list_held() == [held]
    requests.save(held.after(RequestEvent.TURNED_AWAY))
    assert requests.list_held() == []


def test_a_held_request_that_is_over_leaves_the_index_by_no_look(requests: ConnectionRequests) -> None:
    held = NEW.after(RequestEvent.TOO_MANY, page="held")
    requests.save(held)
    requests._redis.delete(requests._key("connection_request", held.id))
    index = requests._key("connection_requests", "held")
    assert requests.list_held() == [] and requests._redis.zcard(index) == 1
    requests.clean_held()
    assert requests._redis.zcard(index) == 0


def test_a_request_whose_key_is_gone_is_nobodys(requests: ConnectionRequests, redis_url: str) -> None:
    requests.create(NEW)
    rotated = ConnectionRequests(requests._redis, Sealer([generate_key()], Purpose.REGISTRY), str)
    assert rotated.get("first") is None
    assert rotated.list_held() == []


def in_state(request_id: str, state: RequestState, **changes: Any) -> ConnectionRequest:
    return replace(NEW, **{"id": request_id, "browser": f"browser of {request_id}", "state": state, **changes})


def test_an_erasure_deletes_what_names_the_account_or_its_meter(requests: ConnectionRequests) -> None:
    stranger = {"invitation_id": None, "code": None}
    of_meter = [
        in_state("asking", RequestState.ASKING),
        in_state("choice", RequestState.CHOICE, usage_points=(), proven=PROVEN),
        in_state("held", RequestState.HELD, proven=PROVEN),
        in_state("typed", RequestState.UNPROVEN, **stranger),
    ]
    others = [
        in_state("other meter", RequestState.ASKING, usage_points=(OTHER,)),
        in_state("own browser", RequestState.ASKING, usage_points=(OTHER,), browser="holder"),
    ]
    for request in (*of_meter, *others):
        assert requests.create(request)
    outcome = in_state("outcome", RequestState.ASKING, usage_points=(), autorisation_id=900001)
    requests.create(outcome)
    requests.save(outcome.after(RequestEvent.PROVEN, accounts=(ConnectedAccount("home1", 3),)))
    assert requests.end_for("home1", METER, "holder") == len(of_meter) + 1
    assert [requests.get(request.id) for request in (*of_meter, outcome)] == [None] * 5
    assert [requests.get(request.id) for request in others] == others
    assert sorted(requests.list_due(NOW + timedelta(days=1), 9)) == ["other meter", "own browser"]
    assert requests.list_held() == []
    assert requests.end_for("home1", METER, "holder") == 0


@pytest.mark.parametrize("state", [RequestState.ASKING, RequestState.UNPROVEN])
def test_an_erasure_deletes_the_browsers_request_that_names_no_meter_yet(
    requests: ConnectionRequests, state: RequestState
) -> None:
    unnamed = in_state("unnamed", state, usage_points=(), autorisation_id=900001, known_as=("holder",))
    requests.create(unnamed)
    assert requests.end_for("home1", METER, "another") == 0
    assert requests.end_for("home1", None, "holder") == 1 and requests.get("unnamed") is None


@pytest.mark.parametrize("event", [RequestEvent.REPLACED, RequestEvent.ERASED, RequestEvent.EXPIRED])
@pytest.mark.parametrize("state", RequestState)
def test_an_event_that_ends_a_request_deletes_it_where_the_table_says_so(
    requests: ConnectionRequests, state: RequestState, event: RequestEvent
) -> None:
    stored = replace(NEW, state=state, proven=PROVEN)
    requests.create(stored)
    match event:
        case RequestEvent.REPLACED:
            requests.create(replace(NEW, id="second"))
        case RequestEvent.ERASED:
            requests.end_for("home1", METER, None)
        case RequestEvent.EXPIRED:
            requests._redis.delete(*[key for key in requests._redis.scan_iter() if requests._redis.ttl(key) > 0])
    assert (requests.get(stored.id) is None) is ((state, event) in TRANSITIONS)


def test_a_request_that_was_deleted_does_not_come_back_with_its_next_step(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    requests.end_for("home1", METER, None)
    requests.save(NEW.after(RequestEvent.PROVEN, accounts=(ConnectedAccount("home1", 3),)))
    assert requests.get(NEW.id) is None


def test_no_meter_and_no_account_can_be_read_from_the_index(requests: ConnectionRequests) -> None:
    requests.create(NEW)
    assert METER not in all_texts(requests)
