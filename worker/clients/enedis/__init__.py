"""Enedis Data Connect (v4, v5 and 2026) as a supplier."""

from __future__ import annotations

from typing import Final

from worker.clients.enedis.client import USAGE_POINT, EnedisClient
from worker.clients.enedis.consent import fetch_shared_meters, read_callback, usage_points_of_grant
from worker.clients.enedis.presets import ANSWER_SHAPES, PRESETS, SUBSCRIBED_SERVICES
from worker.clients.oauth import consent_page
from worker.clients.supplier import ConsentCalls, Supplier

ENEDIS: Final = Supplier(
    name="enedis",
    presets=PRESETS,
    client=EnedisClient,
    shapes=ANSWER_SHAPES,
    consent=ConsentCalls(
        # The address of our callback is registered with the application, so it isn't sent.
        page=lambda endpoints, client_id, state, duration, _: consent_page(
            endpoints, client_id, state, duration=duration
        ),
        read_callback=read_callback,
        meters_of_grant=usage_points_of_grant,
        meter=USAGE_POINT,
        shared_meters=fetch_shared_meters,
        shared_path=SUBSCRIBED_SERVICES,
    ),
)
