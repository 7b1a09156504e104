"""Rate limits by token, session and address, counted in Redis for all web processes together.

A sliding window of two counts: the window before the current one is weighted by the part of it that is still in
sight. This costs two numbers for each subject and one round trip, and uses the server's clock. A refused call isn't
counted, so a client that asks too often still gets its rate.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from redis import Redis

from worker.stores.redis.connection import PrefixedKeys, redis_errors

# KEYS[1]  releve:limit:api:token:5f2c   a hash: index of the window -> number of calls, at most two fields
# ARGV[1]  60      calls allowed in one window
# ARGV[2]  60000   length of the window in milliseconds
# ARGV[3]  1       whether to count this call (1) or only to look (0)
# Returns the milliseconds until a call is allowed again, 0 where it is allowed now.
_COUNT_CALL = """
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
    -- The first call of a window drops the windows before the last one.
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
    """A limit: ``calls`` in any ``window_s`` seconds, under the name that its keys in Redis carry."""

    name: str
    calls: int
    window_s: int = 60


class RateLimiter(PrefixedKeys):
    """Call counter. Every method raises StoreUnavailable: without a count, no call is allowed."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._script = redis.register_script(_COUNT_CALL)

    def count_call(self, rate: Rate, subject: str) -> int:
        """Count a call of ``subject``. Return 0 where it may go on, else the seconds until the next may."""
        return self._run_script(rate, subject, count=True)

    def closed_for_s(self, rate: Rate, subject: str) -> int:
        """Return the same as ``count_call`` without counting a call."""
        return self._run_script(rate, subject, count=False)

    @redis_errors()
    def _run_script(self, rate: Rate, subject: str, *, count: bool) -> int:
        key = self._key("limit", rate.name, subject)
        wait_ms = self._script(keys=[key], args=[rate.calls, rate.window_s * 1000, int(count)])
        return math.ceil(int(wait_ms) / 1000)


# One home or server has a whole /64 of IPv6 addresses, so a count of single addresses limits nobody.
_IPV6_SITE_BITS: Final = 64


def client_address(request: Request) -> str:
    """Return the address that limits count a request under: an IPv4 address or an IPv6 network.

    Behind a reverse proxy uvicorn must trust the proxy (FORWARDED_ALLOW_IPS), or all clients share its address.
    """
    host = request.client.host if request.client else "local"
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host  # A Unix socket or a test client has no IP address.
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False))
