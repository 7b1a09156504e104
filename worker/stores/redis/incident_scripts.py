"""What Redis does in one step for ``worker.stores.redis.incidents``.  A time is in µs, empty for the server's own."""

from __future__ import annotations

from typing import Final

_NOW: Final = """
local function moment(told)
  if told ~= '' then return tonumber(told) end
  local clock = redis.call('TIME')
  return clock[1] * 1000000 + clock[2]
end
"""

# KEYS: ring, last, tally.  ARGV: now, account, kind ('': answered well), window, µs looked back, most accounts,
# seconds kept.
# Gives {accounts that failed alike, accounts asked}.  What lies in the future is another clock's and goes.
NOTE: Final = (
    _NOW
    + """
local now, account, kind = moment(ARGV[1]), ARGV[2], ARGV[3]
local function forget(each)
  local last, times = string.match(redis.call('HGET', KEYS[2], each) or '', '^(%S*) (%d+)')
  if last then redis.call('HINCRBY', KEYS[3], last, -1) end
  return last, times
end
local function drop(gone)
  for _, each in ipairs(gone) do
    forget(each)
    redis.call('ZREM', KEYS[1], each)
    redis.call('HDEL', KEYS[2], each)
  end
end

local last, times = forget(account)
local calls = last == kind and times + 1 or 1
redis.call('HSET', KEYS[2], account, kind .. ' ' .. string.format('%d', calls) .. ' ' .. ARGV[4])
redis.call('ZADD', KEYS[1], string.format('%.0f', now), account)
redis.call('HINCRBY', KEYS[3], kind, 1)
drop(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[5])))
drop(redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf'))
drop(redis.call('ZRANGE', KEYS[1], 0, -1 - ARGV[6]))
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[7]) end
if kind == '' then return {0, 0} end
return {tonumber(redis.call('HGET', KEYS[3], kind)), redis.call('ZCARD', KEYS[1])}
"""
)

# KEYS: open, failed, touched, relapses, muted, then one ``last`` a series.  ARGV: now, id, kind, began_at, first wait
# in µs, longest wait in such, most relapses, seconds it lives unprobed, then the series.
# Gives 1 where it is opened, 0 where one is open, -1 where it must not be.
OPEN: Final = (
    _NOW
    + """
local id = redis.call('HGET', KEYS[1], 'id')
if id then return id == ARGV[2] and 1 or 0 end  -- ours: the command was sent twice
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

# KEYS: open, failed, touched.  ARGV: account, account/series, window, most windows.
ADD: Final = """
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

# KEYS: open.  ARGV: what.
COUNT: Final = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBY', KEYS[1], ARGV[1], 1) end"

# KEYS: open, failed, touched.  ARGV: now, id, rounds so far, µs until the next, seconds it lives unprobed.
TURN: Final = (
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

# KEYS: open, failed, touched, relapses, past, replay, muted.  ARGV: id, slot, ended_at, how, seconds that relapses are
# counted, most of the past, seconds that a replay is due, seconds muted (0: not).
CLOSE: Final = """
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then
  local newest = redis.call('LINDEX', KEYS[5], 0)
  return newest and cjson.decode(newest).id == ARGV[1] and 1 or 0
end
local told = {slot = ARGV[2], ended_at = ARGV[3], how = ARGV[4]}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do told[fields[i]] = fields[i + 1] end
told.accounts = string.format('%d', redis.call('PFCOUNT', KEYS[3]))
redis.call('LPUSH', KEYS[5], cjson.encode(told))
redis.call('LTRIM', KEYS[5], 0, ARGV[6] - 1)
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('INCR', KEYS[4])
redis.call('EXPIRE', KEYS[4], ARGV[5])
redis.call('SET', KEYS[6], 1, 'EX', ARGV[7])
if tonumber(ARGV[8]) > 0 then redis.call('SET', KEYS[7], 1, 'EX', ARGV[8]) end
return 1
"""
