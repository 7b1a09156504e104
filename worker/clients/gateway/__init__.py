"""Gateways as a supplier: they pass on the answers of Enedis to the holder of a token, such as conso-api."""

from __future__ import annotations

from typing import Final

from worker.clients.gateway.client import GatewayClient
from worker.clients.gateway.presets import ANSWER_SHAPES, PRESETS
from worker.clients.supplier import Supplier

GATEWAY: Final = Supplier(name="gateway", presets=PRESETS, client=GatewayClient, shapes=ANSWER_SHAPES)
