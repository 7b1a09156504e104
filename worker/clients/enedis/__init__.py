"""Enedis Data Connect (v4, v5 and 2026) as a supplier."""

from __future__ import annotations

from typing import Final

from worker.clients.enedis.client import USAGE_POINT, EnedisClient
from worker.clients.enedis.consent import authorize_url, fetch_shared_meters, read_callback, usage_points_of_grant
from worker.clients.enedis.presets import ANSWER_SHAPES, PRESETS, SUBSCRIBED_SERVICES
from worker.clients.supplier import ConsentCalls, Supplier

ENEDIS: Final = Supplier(
    name="enedis",
    presets=PRESETS,
    client=EnedisClient,
    shapes=ANSWER_SHAPES,
    consent=ConsentCalls(
        page=lambda endpoints, client_id, state, duration, _: authorize_url(endpoints, client_id, state, duration),
        read_callback=read_callback,
        meters_of_grant=usage_points_of_grant,
        meter=USAGE_POINT,
        shared_meters=fetch_shared_meters,
        shared_path=SUBSCRIBED_SERVICES,
    ),
)
