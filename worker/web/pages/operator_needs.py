"""What needs somebody now, for the top of the operator's first page: the findings of `releve doctor`, and who waits."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final
from urllib.parse import urlencode

from worker.app import queue_lengths
from worker.domain.campaign import RecipientState
from worker.errors import StoreUnavailable, WorkerLost
from worker.logs import fields
from worker.ops.check_results import CheckConnections, CheckResult, Level, summarize
from worker.ops.host_checks import check_disk
from worker.ops.liveness import judge_beat
from worker.ops.supplier_checks import (
    check_first_keys,
    check_incidents,
    check_night,
    check_outputs,
    judge_errors,
    judge_workers,
)
from worker.runtime.stores import Stores
from worker.stores.redis.heartbeats import Heartbeats
from worker.web.dependencies import Visit
from worker.web.pages.operator_access import PATH
from worker.web.rendering import words_of
from worker.web.texts import Words

log = logging.getLogger("releve.web")
_SOON: Final = timedelta(days=7)
_URGENT: Final = timedelta(days=3)  # A proof is sent by post or asked of a household, which takes days.
_MOST_REASONS: Final = 3


@dataclass(frozen=True, slots=True)
class Need:
    """One line. ``page``: the path of the page on which it is done; empty if the text names a command instead."""

    level: Level
    text: str
    page: str = ""


@dataclass(frozen=True, slots=True)
class Processes:
    """What Redis and the broker tell. ``queues``: the length of each queue, or None if the broker doesn't answer."""

    queues: Mapping[str, int] | None
    workers: Sequence[CheckResult]
    beat: Sequence[CheckResult]

    def summarize(self) -> list[CheckResult]:
        return [summarize("workers", self.workers), summarize("beat", self.beat)]


def find_processes(stores: Stores) -> Processes:
    heartbeats, queues = Heartbeats(stores.redis), _read_queues(stores)
    now, (beat_at, tick_at) = heartbeats.now(), heartbeats.beat_and_tick()
    workers = judge_workers(heartbeats.workers(), queues or {}, now)
    keys = check_first_keys(stores.settings, heartbeats)
    return Processes(queues, [*keys, *workers], [*judge_beat(beat_at, tick_at, now)])


def _connections_of(stores: Stores) -> CheckConnections:
    """Return this process' connections, for the checks of `releve doctor`."""
    connections = CheckConnections(stores.settings, ExitStack(), start_embedded=False)
    connections.redis, connections.registry = stores.redis, stores.registry
    return connections


def judge_nights(visit: Visit) -> dict[str, CheckResult]:
    """Return by supplier whether the next night fits its quota."""
    connections = _connections_of(visit.stores)
    return {name: summarize("quota", check_night(connections, name)) for name in visit.sync.suppliers}


def list_needs(visit: Visit, processes: Processes | None, nights: Mapping[str, CheckResult]) -> list[Need]:
    """Return what needs somebody, the red needs first. ``processes``: None if Redis doesn't answer."""
    today, t = visit.sync.history.today(), words_of(visit.request)
    needs = [*_find_in_redis(visit, processes, today, t), *_find_in_registry(visit, nights, today, t)]
    return sorted(needs, key=lambda need: need.level is not Level.FAIL)


def _find_in_redis(visit: Visit, processes: Processes | None, today: date, t: Words) -> Iterator[Need]:
    if processes is None:
        yield Need(Level.FAIL, t("operator.need.redis"))
        return
    if processes.queues is None:
        yield Need(Level.FAIL, t("operator.need.broker"))
    yield from _translate([*processes.workers, *processes.beat, *check_incidents(_connections_of(visit.stores))], t)
    if held := len(visit.consent.requests.list_held()):
        yield Need(Level.WARN, t.count("operator.held", held))
    proofs = visit.consent.proof_uploads.list_awaited() if visit.sync.suppliers.has_rights else []
    if awaited := [proof.until for proof in proofs if proof.state != "waiting"]:  # The nearest deadline comes first.
        until = t("operator.proofs.until", day=t.day(awaited[0])) if awaited[0] else t("operator.proofs.no_day")
        is_urgent = awaited[0] is not None and awaited[0] <= today + _URGENT
        text = t.count("operator.need.proofs", len(awaited), until=until)
        yield Need(Level.FAIL if is_urgent else Level.WARN, text, f"{PATH}/invitations#proofs")


def _find_in_registry(visit: Visit, nights: Mapping[str, CheckResult], today: date, t: Words) -> Iterator[Need]:
    overview, connections = visit.registry.overview, _connections_of(visit.stores)
    for supplier, night in nights.items():
        for need in _translate([night], t):
            yield replace(need, text=t("operator.need.night", supplier=t(f"supplier.{supplier}"), told=need.text))
    yield from _translate([*check_outputs(connections), *check_disk(connections)], t)
    yield from _translate(judge_errors(overview.count_errors(WorkerLost.code)), t, _accounts(code=WorkerLost.code))
    if ending := overview.count_ending(today, today + _SOON):
        yield Need(Level.WARN, t.count("operator.need.ending", ending), _accounts(ending=str(_SOON.days)))
    for code, number in overview.count_reasons(_MOST_REASONS):
        yield Need(Level.WARN, t.count("operator.need.action", number, code=code), _accounts(code=code))
    for campaign in visit.registry.campaigns.list_campaigns():
        if campaign.is_over(visit.registry.now()):
            continue
        counts = visit.registry.campaigns.count_states(campaign.id)
        is_late = counts[RecipientState.CHOSEN] and not campaign.is_running
        state = RecipientState.CHOSEN if is_late else RecipientState.ADDRESS_REFUSED
        if counts[state]:
            text = t.count(f"operator.need.campaign.{state}", counts[state])
            yield Need(Level.WARN, text, f"{PATH}/campaigns/{campaign.id}")


def _translate(found: Iterable[CheckResult], t: Words, page: str = "") -> Iterator[Need]:
    return (Need(one.level, one.translate(t.language), page) for one in found if one.level is not Level.OK)


def _accounts(**query: str) -> str:
    return f"{PATH}/accounts?{urlencode(query)}"


def _read_queues(stores: Stores) -> dict[str, int] | None:
    try:
        return queue_lengths(stores.broker_url)
    except StoreUnavailable as error:
        log.warning("queues can't be read", extra=fields(reason=str(error)))
        return None
