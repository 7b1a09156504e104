"""Lua scripts of ``worker.stores.redis.incidents``, each an atomic step.

Times are in µs since 1970 (1721890000123456); an empty text stands for the server's own time.
"""

from __future__ import annotations

from typing import Final

_NOW: Final = """
local function moment(text)
  if text ~= '' then return tonumber(text) end
  local clock = redis.call('TIME')
  return clock[1] * 1000000 + clock[2]
end
"""

# KEYS: incident:ring:daily, incident:last:daily, incident:tally:daily.
# ARGV: now, account (k9x4w), kind (outage, '' for a good answer), window ("2024-06-25 2024-07-25 <run> daily/nightly"),
# µs to look back (600000000), most accounts (1000), seconds to live (21600).
# Returns {accounts that failed with this kind, accounts asked}.
RECORD_ANSWER: Final = (
    _NOW
    + """
local now, account, kind = moment(ARGV[1]), ARGV[2], ARGV[3]
local function uncount(member)
  local last, times = string.match(redis.call('HGET', KEYS[2], member) or '', '^(%S*) (%d+)')
  if last then redis.call('HINCRBY', KEYS[3], last, -1) end
  return last, times
end
local function drop(members)
  for _, member in ipairs(members) do
    uncount(member)
    redis.call('ZREM', KEYS[1], member)
    redis.call('HDEL', KEYS[2], member)
  end
end

local last, times = uncount(account)
local calls = last == kind and times + 1 or 1
redis.call('HSET', KEYS[2], account, kind .. ' ' .. string.format('%d', calls) .. ' ' .. ARGV[4])
redis.call('ZADD', KEYS[1], string.format('%.0f', now), account)
redis.call('HINCRBY', KEYS[3], kind, 1)
drop(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[5])))
-- A time in the future comes from a clock that was set back: it would never grow old.
drop(redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf'))
drop(redis.call('ZRANGE', KEYS[1], 0, -1 - ARGV[6]))
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[7]) end
if kind == '' then return {0, 0} end
return {tonumber(redis.call('HGET', KEYS[3], kind)), redis.call('ZCARD', KEYS[1])}
"""
)

# KEYS: incident:open:daily, incident:failed:daily, incident:touched:daily, incident:relapses:daily,
# incident:muted:outage, then incident:last:<series> of each series.
# ARGV: now, id of the incident, kind (outage), began_at (2024-07-25T07:00:00+00:00), first wait in µs (60000000),
# longest wait as a multiple of it (15), most relapses (3), seconds to live without probes (10800), then the series
# (daily) in the order of their keys.
# Returns 1 where it opens the incident, 0 where one is open, -1 where none may be opened.
OPEN: Final = (
    _NOW
    + """
local id = redis.call('HGET', KEYS[1], 'id')
if id then return id == ARGV[2] and 1 or 0 end  -- Its own id: the client sent the command twice.
local relapses = tonumber(redis.call('GET', KEYS[4]) or 0)
if redis.call('EXISTS', KEYS[5]) == 1 or relapses >= tonumber(ARGV[7]) then return -1 end

redis.call('DEL', KEYS[2], KEYS[3])
local calls = 0
for rank = 6, #KEYS do
  local last = redis.call('HGETALL', KEYS[rank])
  for i = 1, #last, 2 do
    local kind, times, window = string.match(last[i + 1], '^(%S*) (%d+) (.*)$')
    if kind == ARGV[3] then
      calls = calls + times
      redis.call('HSET', KEYS[2], last[i] .. '/' .. ARGV[rank + 3], window)
      redis.call('PFADD', KEYS[3], last[i])
    end
  end
end
local wait = ARGV[5] * math.min(2 ^ relapses, ARGV[6])
redis.call('HSET', KEYS[1], 'id', ARGV[2], 'kind', ARGV[3], 'began_at', ARGV[4], 'failed_calls', calls,
  'rounds', 0, 'relapses', relapses, 'probe_at', string.format('%.0f', moment(ARGV[1]) + wait))
for rank = 1, 3 do redis.call('EXPIRE', KEYS[rank], ARGV[8]) end
return 1
"""
)

# KEYS: incident:open:daily, incident:failed:daily, incident:touched:daily.
# ARGV: account (k9x4w), account/series (k9x4w/daily), window as above, most windows (10000).
ADD_FAILURE: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return end
redis.call('HINCRBY', KEYS[1], 'failed_calls', 1)
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 or redis.call('HLEN', KEYS[2]) < tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
end
redis.call('PFADD', KEYS[3], ARGV[1])
local lives = redis.call('TTL', KEYS[1])
redis.call('EXPIRE', KEYS[2], lives)
redis.call('EXPIRE', KEYS[3], lives)
"""

# KEYS: incident:open:daily.  ARGV: the field to increment (windows_held).
INCREMENT_COUNT: Final = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBY', KEYS[1], ARGV[1], 1) end"

# A round belongs to the caller that saw the number of rounds before it: of two callers, one gets it.
# KEYS: incident:open:daily, incident:failed:daily, incident:touched:daily.
# ARGV: now, id, rounds so far (2), µs until the next round (120000000), seconds to live without probes (10800).
CLAIM_PROBE_ROUND: Final = (
    _NOW
    + """
local id, due, rounds = unpack(redis.call('HMGET', KEYS[1], 'id', 'probe_at', 'rounds'))
if id ~= ARGV[2] or rounds ~= ARGV[3] then return 0 end
local now = moment(ARGV[1])
if tonumber(due) > now then return 0 end
redis.call('HSET', KEYS[1], 'rounds', rounds + 1, 'probe_at', string.format('%.0f', now + ARGV[4]))
for rank = 1, 3 do redis.call('EXPIRE', KEYS[rank], ARGV[5]) end
return 1
"""
)

# KEYS: incident:open:daily, incident:failed:daily, incident:touched:daily, incident:relapses:daily, incident:past,
# incident:replay, incident:muted:outage.
# ARGV: id, slot (daily), ended_at (2024-07-25T07:07:00+00:00), how (probes), seconds that a relapse counts (3600), most
# past incidents (200), seconds that a replay is due (86400), seconds muted (0 for none).
CLOSE: Final = """
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  -- The newest past incident with this id means that the client sent the command twice.
  local newest = redis.call('LINDEX', KEYS[5], 0)
  return newest and cjson.decode(newest).id == ARGV[1] and 1 or 0
end
local incident = {slot = ARGV[2], ended_at = ARGV[3], how = ARGV[4]}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do incident[fields[i]] = fields[i + 1] end
incident['accounts'] = string.format('%d', redis.call('PFCOUNT', KEYS[3]))
redis.call('LPUSH', KEYS[5], cjson.encode(incident))
redis.call('LTRIM', KEYS[5], 0, ARGV[6] - 1)
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('INCR', KEYS[4])
redis.call('EXPIRE', KEYS[4], ARGV[5])
redis.call('SET', KEYS[6], 1, 'EX', ARGV[7])
if tonumber(ARGV[8]) > 0 then redis.call('SET', KEYS[7], 1, 'EX', ARGV[8]) end
return 1
"""
