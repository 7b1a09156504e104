"""The Lua scripts of the permit ledger and the gate; each runs inside Redis as a whole or not at all.

Moments and spans are in µs, of the server's clock or of the caller's (for simulations). A stored moment that lies
further ahead than any script writes is ignored: so a raised limit is used at once, and a clock that was set back does
not stop all calls.

The hash of the gate, ``releve:gate:enedis-v5:state``:

    shut_at   1721880000000000   when it was closed
    until     1721880060000000   when it opens
    strikes   1                  how often it was closed again soon after it had opened
    next      1721880060250000   the next free slot while it opens slowly
    turn2     1721880061000000   when the next refused caller of lane 2 comes again (turn1 to turn4)

The hash of the pace, ``releve:permit:enedis-v5:data:pace``:

    next      1721880000250000   the next free slot
    floor2    1721880000833000   when lane 2 may use its floor of the pace again (floor1 to floor4)
    turn2     1721880001000000   as in the gate, for callers that the pace or a window refused

The hash of a window, ``releve:permit:enedis-v5:data:hourly``. Counts are there twice, in all and for each bucket:

    s                 600              permits out of the shared part
    f2                130              permits out of the floor of lane 2 (f1 to f4)
    u2                700              permits that lane 2 has taken, whatever they were taken of (u1 to u4)
    114792000:s       12               the same counts for bucket 114792000, which is a moment / length of a bucket
    t2                1721880001200000 when the next permit of lane 2's floor is lent to others (t1 to t4)
    m2                1721880000000000 when lane 2 last got no permit (m1 to m4)
    oldest, newest    114792000        the first and the last bucket with counts
"""

from __future__ import annotations

from typing import Final

_PRELUDE: Final = """
local function num(value) return tonumber(value) or 0 end
-- Lua would write a large number as 1.72188e+15.
local function text(value) return string.format('%.0f', value) end
local now = num(ARGV[1])
if now <= 0 then
  local clock = redis.call('TIME')
  now = clock[1] * 1000000 + clock[2]
end
"""

# KEYS: the gate, the pace, then one for each window.
# ARGV, with the numbers of 5 calls a second, 10 000 an hour and the usual shares:
#    1  0          now; 0 takes the server's clock
#    2  1000000    patience: how long the caller would wait
#    3  2          lane, 1 to 4
#    4  250001     spacing of the pace; 0: there is no pace
#    5  125000     between two callers that come again for want of a slot
#    6  180000     between two callers that come again for want of a window's permit
#    7  60000000   length of the ramp on which the gate opens
#    8  250001     spacing at the end of the ramp
#    9  1000000    the longest patience of any caller
#   10  65         percent of the patience that this lane has above its floor
#   11  833336     spacing of this lane's floor; 0: it has none
# Then for each window, here the hour:
#   12  10000      calls
#   13  15000000   length of a bucket
#   14  240        buckets
#   15  50         reserve of lane 1's floor, which is never lent
#   16  10         calls of the shared part that this lane leaves to the lanes before it
#   17  15000000   how much later than the first lane this one may borrow
#   18  60000000   the longest span whose unused loans may be made up for
#   19  1000 3000 1000 1000   the four floors
#   23  8000 10000 5000 9000  the four ceilings
# Returns {0, wait, now, when to come again} or {1, wait, now, moment of the permit, source in each window}.
TAKE_PERMIT: Final = (
    _PRELUDE
    + """
local patience, lane, spacing = num(ARGV[2]), ARGV[3], num(ARGV[4])
local slot_spread, window_spread = num(ARGV[5]), num(ARGV[6])
local ramp, ramp_spacing, longest = num(ARGV[7]), num(ARGV[8]), num(ARGV[9])
local own_percent, floor_spacing = num(ARGV[10]), num(ARGV[11])
local MINUTE, PER_WINDOW, FIRST = 60000000, 15, 12

-- A refused caller gets a turn. Two callers come again for each permit that there may be, and no two at once.
local function refuse(key, turn, wait, spread)
  local due = now + wait
  local at = math.min(math.max(turn, due), due + MINUTE)
  redis.call('HSET', key, 'turn' .. lane, text(at + spread))
  if key == KEYS[2] then redis.call('PEXPIRE', key, math.ceil((longest + spacing + wait) / 1000) + 120000) end
  return {0, math.ceil(wait), now, math.ceil(at - now)}
end

-- A moment that no script can have written by this clock comes from a clock that was set back: ignore it.
local function plausible(value, furthest)
  local moment = num(value)
  return moment <= now + furthest and moment or 0
end

local gate = redis.call('HMGET', KEYS[1], 'shut_at', 'until', 'next', 'turn' .. lane)
local shut_at, opens = num(gate[1]), num(gate[2])
-- A gate that was closed in the future was closed before the clock was set back: it counts as open.
local gate_counts = now >= shut_at
if gate_counts and now < opens then return refuse(KEYS[1], num(gate[4]), opens - now, slot_spread) end

local pace = redis.call('HMGET', KEYS[2], 'next', 'floor' .. lane, 'turn' .. lane)
local turn = num(pace[3])
local wait, ramp_step = 0, 0
if gate_counts and opens > 0 and now - opens < ramp then
  ramp_step = ramp_spacing / math.max(0.05, (now - opens) / ramp)
  wait = math.max(0, plausible(gate[3], 2 * longest + 20 * ramp_spacing) - now)
end
wait = math.max(wait, plausible(pace[1], 2 * longest + spacing) - now)
local floor_due = plausible(pace[2], floor_spacing)
local under_floor = floor_spacing > 0 and floor_due <= now
if wait > (under_floor and patience or patience * own_percent / 100) then
  return refuse(KEYS[2], turn, wait, slot_spread)
end
local at = now + wait

local FIELDS = {'oldest', 'newest', 's', 'f1', 'f2', 'f3', 'f4', 'u1', 'u2', 'u3', 'u4',
                't1', 't2', 't3', 't4', 'm1', 'm2', 'm3', 'm4'}
local COUNTS = {'s', 'f1', 'f2', 'f3', 'f4', 'u1', 'u2', 'u3', 'u4'}

local function bucket_fields(bucket)
  local names = {}
  for i, name in ipairs(COUNTS) do names[i] = text(bucket) .. ':' .. name end
  return names
end

local function save_counts(w)
  local pairs_to_set = {'oldest', text(w.oldest), 'newest', text(w.newest)}
  for _, name in ipairs(COUNTS) do
    pairs_to_set[#pairs_to_set + 1] = name
    pairs_to_set[#pairs_to_set + 1] = w[name]
  end
  redis.call('HSET', w.key, unpack(pairs_to_set))
end

-- Drop the buckets that are older than the window. After a clock was set back, count all calls as made now.
local function sweep(w)
  local first = w.bucket - w.buckets
  if w.newest > w.bucket + math.ceil((longest + spacing) / w.bucket_us) + 1 then
    redis.call('DEL', w.key)
    w.oldest, w.newest = w.bucket, w.bucket
    for i, name in ipairs(bucket_fields(w.bucket)) do
      if w[COUNTS[i]] > 0 then redis.call('HSET', w.key, name, w[COUNTS[i]]) end
    end
    for j = 1, 4 do w['t' .. j] = 0 end
    return save_counts(w)
  end
  if w.newest < first then
    if w.newest > 0 then redis.call('DEL', w.key) end
    for _, name in ipairs(COUNTS) do w[name] = 0 end
    w.oldest, w.newest = w.bucket, w.bucket
    return
  end
  if w.oldest >= first then return end
  while w.oldest < first do
    local names = bucket_fields(w.oldest)
    for i, count in ipairs(redis.call('HMGET', w.key, unpack(names))) do
      w[COUNTS[i]] = w[COUNTS[i]] - num(count)
    end
    redis.call('HDEL', w.key, unpack(names))
    w.oldest = w.oldest + 1
  end
  save_counts(w)
end

local function window(key, i)
  local w = {key = key, calls = num(ARGV[i]), bucket_us = num(ARGV[i + 1]), buckets = num(ARGV[i + 2]),
             reserve = num(ARGV[i + 3]), left = num(ARGV[i + 4]), late = num(ARGV[i + 5]), band = num(ARGV[i + 6]),
             floors = {}, shared = num(ARGV[i]), ceiling = num(ARGV[i + 10 + lane])}
  for j = 1, 4 do
    w.floors[j] = num(ARGV[i + 6 + j])
    w.shared = w.shared - w.floors[j]
  end
  w.bucket = math.floor(now / w.bucket_us)
  local values = redis.call('HMGET', key, unpack(FIELDS))
  for n, name in ipairs(FIELDS) do w[name] = num(values[n]) end
  sweep(w)
  return w
end

-- The time until the oldest call that still counts drops out of the window.
local function expiry(w)
  local before = w.oldest
  while w.oldest < w.bucket do
    local empty = true
    for _, count in ipairs(redis.call('HMGET', w.key, unpack(bucket_fields(w.oldest)))) do
      if num(count) > 0 then empty = false end
    end
    if not empty then break end
    w.oldest = w.oldest + 1
  end
  if w.oldest > before then redis.call('HSET', w.key, 'oldest', text(w.oldest)) end
  return (w.oldest + w.buckets + 1) * w.bucket_us - now
end

local function others_want(w)
  for j = 1, 4 do
    if j ~= tonumber(lane) and w['m' .. j] > now - MINUTE then return true end
  end
  return false
end

-- First take what another lane lends, because it is lost otherwise; then the lane's own floor, as evenly as it would
-- be lent. A burst is taken of the shared part while half of that is left, because a burst comes back as a burst an
-- hour later. A floor is lent only evenly, so most of the burst would lie idle there. The other half of the shared
-- part is for lanes that have used up their floor.
local function source(w)
  if w['u' .. lane] >= w.ceiling and others_want(w) then return nil, expiry(w) end
  local soonest = math.huge
  for j = 4, 1, -1 do
    local reserve = j == 1 and w.reserve or 0
    if j ~= tonumber(lane) and w['f' .. j] + reserve < w.floors[j] then
      local lent_in = math.max(w['t' .. j], now - w.band) + w.late - now
      if lent_in <= 0 then return 'f' .. j end
      soonest = math.min(soonest, lent_in)
    end
  end
  local own = w['f' .. lane] < w.floors[tonumber(lane)]
  if own and w['t' .. lane] <= now then return 'f' .. lane end
  if w.s + w.left < (own and w.shared / 2 or w.shared) then return 's' end
  if own then return 'f' .. lane end
  return nil, math.min(soonest, expiry(w))
end

-- All windows are checked before any is written: a permit is taken of all of them or of none.
local windows, sources, late = {}, {}, 0
for n = 3, #KEYS do
  local w = window(KEYS[n], FIRST + (n - 3) * PER_WINDOW)
  local from, free_in = source(w)
  if not from then
    redis.call('HSET', w.key, 'm' .. lane, text(now))
    redis.call('PEXPIRE', w.key, math.ceil((w.buckets + 2) * w.bucket_us / 1000) + 1000)
    late = math.max(late, free_in)
  end
  windows[#windows + 1], sources[#sources + 1] = w, from or ''
end
if late > 0 then return refuse(KEYS[2], turn, late, window_spread) end

for n, w in ipairs(windows) do
  local from, mine, bucket = sources[n], 'u' .. lane, math.floor(at / w.bucket_us)
  redis.call('HINCRBY', w.key, text(bucket) .. ':' .. from, 1)
  redis.call('HINCRBY', w.key, text(bucket) .. ':' .. mine, 1)
  local pairs_to_set = {from, w[from] + 1, mine, w[mine] + 1, 'm' .. lane, 0, 'oldest',
                        text(math.min(w.oldest, bucket)), 'newest', text(math.max(w.newest, bucket))}
  if from ~= 's' then
    local j = tonumber(string.sub(from, 2))
    pairs_to_set[#pairs_to_set + 1] = 't' .. j
    pairs_to_set[#pairs_to_set + 1] =
      text(math.max(w['t' .. j], now - w.band) + w.buckets * w.bucket_us / w.floors[j])
  end
  redis.call('HSET', w.key, unpack(pairs_to_set))
  redis.call('PEXPIRE', w.key, math.ceil(((w.buckets + 2) * w.bucket_us + longest) / 1000))
end
if spacing > 0 then
  redis.call('HSET', KEYS[2], 'next', text(at + spacing))
  if under_floor then
    redis.call('HSET', KEYS[2], 'floor' .. lane, text(math.max(floor_due, now - floor_spacing) + floor_spacing))
  end
  redis.call('PEXPIRE', KEYS[2], math.ceil((longest + spacing) / 1000) + 120000)
end
if ramp_step > 0 then redis.call('HSET', KEYS[1], 'next', text(at + ramp_step)) end
return {1, math.ceil(wait), now, text(at), unpack(sources)}
"""
)

# KEYS: one for each window.
# ARGV:
#   1  0                 now; not used
#   2  2                 lane of the permit
#   3  1721880000250000  moment of the permit
# Then for each window:
#   4  s                 source
#   5  15000000          length of a bucket
RELEASE_PERMIT: Final = """
for n, key in ipairs(KEYS) do
  local source, mine = ARGV[2 + 2 * n], 'u' .. ARGV[2]
  local bucket = string.format('%.0f:', math.floor(tonumber(ARGV[3]) / tonumber(ARGV[3 + 2 * n])))
  -- A bucket that has dropped out of the window was subtracted already.
  if tonumber(redis.call('HGET', key, bucket .. source) or 0) > 0 then
    for _, name in ipairs({bucket .. source, bucket .. mine, source, mine}) do
      redis.call('HINCRBY', key, name, -1)
    end
  end
end
"""

# KEYS: the gate.
# ARGV:
#   1  0                 now; 0 takes the server's clock
#   2  60000000          the wait that the supplier asked for
#   3  1721880000250000  moment of the refused call's permit; 0: unknown
#   4  660000000         how long a refusal is remembered after the gate opens
#   5  3600000000        the longest wait that we add to the supplier's
# Returns how long the gate is closed from now on; 0 if it was closed for longer already.
CLOSE_GATE: Final = (
    _PRELUDE
    + """
local wait, permit_at, memory, longest = num(ARGV[2]), num(ARGV[3]), num(ARGV[4]), num(ARGV[5])
local gate = redis.call('HMGET', KEYS[1], 'shut_at', 'until', 'strikes')
local shut_at, opens, strikes = num(gate[1]), num(gate[2]), num(gate[3])
if now < shut_at then opens, strikes = 0, 0 end
-- The calls that were under way when the gate closed may each be refused: together they are one refusal.
local known = now < opens or (permit_at > 0 and permit_at <= shut_at)
if not known then
  strikes = now < opens + memory and strikes + 1 or 0
  wait = math.max(wait, math.min(wait * 2 ^ strikes, longest))
end
if now + wait <= opens then return 0 end
redis.call('HSET', KEYS[1], 'shut_at', text(now), 'until', text(now + wait), 'strikes', strikes, 'next', 0)
redis.call('PEXPIRE', KEYS[1], math.ceil((wait + memory) / 1000))
return math.ceil(wait)
"""
)

# KEYS: the gate.
# ARGV:
#   1  0         now; 0 takes the server's clock
#   2  60000000  length of the ramp on which the gate opens
# Returns {µs until it opens, thousandths of the full pace}.
READ_GATE: Final = (
    _PRELUDE
    + """
local gate = redis.call('HMGET', KEYS[1], 'shut_at', 'until')
local opens, ramp = num(gate[2]), num(ARGV[2])
if opens == 0 or now < num(gate[1]) or now >= opens + ramp then return {0, 1000} end
if now < opens then return {math.ceil(opens - now), 0} end
return {0, math.floor(1000 * math.max(0.05, (now - opens) / ramp))}
"""
)
