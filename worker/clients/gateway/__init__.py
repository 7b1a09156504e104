"""Gateways (such as conso-api) as a supplier; a gateway passes Enedis' answers on to the holder of a token."""

from __future__ import annotations

from typing import Final

from worker.clients.gateway.client import GatewayClient
from worker.clients.gateway.presets import ANSWER_SHAPES, PRESETS
from worker.clients.supplier import Supplier

GATEWAY: Final = Supplier(name="gateway", presets=PRESETS, client=GatewayClient, shapes=ANSWER_SHAPES)
