"""How often somebody may call, counted in Redis by all web processes together.

A sliding window of two counts, the window before weighted by what of it is still in sight: two numbers a subject,
one round trip, the server's clock.  What is refused isn't counted, so that a client which asks too often still gets
its rate.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from redis import Redis

from worker.stores.redis.connection import PrefixedKeys, redis_errors

# KEYS: the subject.  ARGV: calls, window in ms, whether to count this call.  Gives ms to wait, 0 for a free way.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local calls, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local index = math.floor(now / window)
local passed = now - index * window
local before = tonumber(redis.call('HGET', KEYS[1], string.format('%.0f', index - 1)) or 0)
local current = tonumber(redis.call('HGET', KEYS[1], string.format('%.0f', index)) or 0)

local free = calls - 1 - current
if free < 0 then return math.ceil(window - passed + window * (1 - (calls - 1) / current)) end
if before * (window - passed) / window > free then
  return math.max(1, math.ceil(window * (1 - free / before) - passed))
end
if ARGV[3] == '1' then
  if current == 0 then
    redis.call('DEL', KEYS[1])
    if before > 0 then redis.call('HSET', KEYS[1], string.format('%.0f', index - 1), before) end
  end
  redis.call('HINCRBY', KEYS[1], string.format('%.0f', index), 1)
  redis.call('PEXPIRE', KEYS[1], 2 * window)
end
return 0
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """``calls`` in any ``window_s``."""

    name: str
    calls: int
    window_s: int = 60


class Limiter(PrefixedKeys):
    """Every method raises StoreUnavailable: where nobody can count, nobody is let in."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._take = redis.register_script(_TAKE)

    def wait_s(self, rate: Rate, subject: str) -> int:
        """Count a call of ``subject``; 0 where it may go on, else seconds until it might."""
        return self._ask(rate, subject, count=True)

    def closed_for_s(self, rate: Rate, subject: str) -> int:
        """The same without counting."""
        return self._ask(rate, subject, count=False)

    @redis_errors()
    def _ask(self, rate: Rate, subject: str, *, count: bool) -> int:
        key = self._key("limit", rate.name, subject)
        wait_ms = self._take(keys=[key], args=[rate.calls, rate.window_s * 1000, int(count)])
        return math.ceil(int(wait_ms) / 1000)


_IPV6_HOME: Final = 64  # what one home or server has of IPv6: whoever counts single addresses counts nobody


def address_of(request: Request) -> str:
    """Where a request comes from, as limits count it.  Behind a reverse proxy uvicorn must be told to trust it."""
    host = request.client.host if request.client else "local"
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host  # a unix socket, a test
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_HOME), strict=False))
