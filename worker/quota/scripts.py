"""What the ledger and the gate do inside Redis, each as one script: all of it happens, or nothing.

Instants and spans are µs, of the server's clock or of the one that the caller brings (a simulation's).  Nothing
kept is believed to lie in the future: a raised limit counts at once, and a clock set back does not close the house.

Hash of the gate: ``shut_at``, ``until``, ``strikes``, ``next`` (the next slot while it reopens), ``turn<lane>``.
Hash of the pace: ``next`` (the next free slot), ``floor<lane>``, ``turn<lane>``.
Hash of a window: calls ``s`` out of the shared part, ``f<lane>`` out of a lane's floor, ``u<lane>`` made by a lane,
each in all and for every bucket (``<bucket>:s``); ``t<lane>`` (when its floor is next lent), ``m<lane>`` (when it
last went without), ``oldest`` and ``newest`` bucket.
"""

from __future__ import annotations

from typing import Final

_PRELUDE: Final = """
local function num(value) return tonumber(value) or 0 end
local function text(value) return string.format('%.0f', value) end
local now = num(ARGV[1])
if now <= 0 then
  local clock = redis.call('TIME')
  now = clock[1] * 1000000 + clock[2]
end
"""

# KEYS: gate, pace, then one for each window.
# ARGV: now (0: the server's), patience, lane (1 to 4), spacing (0: no pace), spread of those who come again for want
# of a slot, and for want of the hour, length of the ramp, spacing on the ramp at full pace, longest patience of
# anybody, percent of the patience that this lane has above its floor, spacing of its floor (0: none), then for each
# window: calls, length of a bucket, buckets, kept at hand for lane 1, calls left to lanes before this one, span by
# which it borrows later, longest span of unborrowed calls that may be made up for, four floors, four ceilings.
# Gives {0, wait, now, when to come again} or {1, wait, now, instant of the permit, source in each window}.
TAKE: Final = (
    _PRELUDE
    + """
local patience, lane, spacing = num(ARGV[2]), ARGV[3], num(ARGV[4])
local slot_spread, hour_spread = num(ARGV[5]), num(ARGV[6])
local ramp, ramp_spacing, longest = num(ARGV[7]), num(ARGV[8]), num(ARGV[9])
local own_percent, floor_spacing = num(ARGV[10]), num(ARGV[11])
local MINUTE, PER_WINDOW, FIRST = 60000000, 15, 12

-- Who is sent away gets a turn: two come again for each permit there may be, none of them at once.
local function sent_away(key, turn, wait, spread)
  local due = now + wait
  local at = math.min(math.max(turn, due), due + MINUTE)
  redis.call('HSET', key, 'turn' .. lane, text(at + spread))
  if key == KEYS[2] then redis.call('PEXPIRE', key, math.ceil((longest + spacing + wait) / 1000) + 120000) end
  return {0, math.ceil(wait), now, math.ceil(at - now)}
end

-- An instant that nobody can have written on this clock is none.
local function believed(value, furthest)
  local instant = num(value)
  return instant <= now + furthest and instant or 0
end

local gate = redis.call('HMGET', KEYS[1], 'shut_at', 'until', 'next', 'turn' .. lane)
local shut_at, opens = num(gate[1]), num(gate[2])
local ours = now >= shut_at
if ours and now < opens then return sent_away(KEYS[1], num(gate[4]), opens - now, slot_spread) end

local pace = redis.call('HMGET', KEYS[2], 'next', 'floor' .. lane, 'turn' .. lane)
local turn = num(pace[3])
local wait, ramp_step = 0, 0
if ours and opens > 0 and now - opens < ramp then
  ramp_step = ramp_spacing / math.max(0.05, (now - opens) / ramp)
  wait = math.max(0, believed(gate[3], 2 * longest + 20 * ramp_spacing) - now)
end
wait = math.max(wait, believed(pace[1], 2 * longest + spacing) - now)
local floor_due = believed(pace[2], floor_spacing)
local under_floor = floor_spacing > 0 and floor_due <= now
if wait > (under_floor and patience or patience * own_percent / 100) then
  return sent_away(KEYS[2], turn, wait, slot_spread)
end
local at = now + wait

local FIELDS = {'oldest', 'newest', 's', 'f1', 'f2', 'f3', 'f4', 'u1', 'u2', 'u3', 'u4',
                't1', 't2', 't3', 't4', 'm1', 'm2', 'm3', 'm4'}
local COUNTS = {'s', 'f1', 'f2', 'f3', 'f4', 'u1', 'u2', 'u3', 'u4'}

local function named(bucket)
  local names = {}
  for i, name in ipairs(COUNTS) do names[i] = text(bucket) .. ':' .. name end
  return names
end

local function keep_counts(w)
  local words = {'oldest', text(w.oldest), 'newest', text(w.newest)}
  for _, name in ipairs(COUNTS) do
    words[#words + 1] = name
    words[#words + 1] = w[name]
  end
  redis.call('HSET', w.key, unpack(words))
end

-- Forget what is older than the window; after a clock set back, count everything as of now.
local function sweep(w)
  local first = w.bucket - w.buckets
  if w.newest > w.bucket + math.ceil((longest + spacing) / w.bucket_us) + 1 then
    redis.call('DEL', w.key)
    w.oldest, w.newest = w.bucket, w.bucket
    for i, name in ipairs(named(w.bucket)) do
      if w[COUNTS[i]] > 0 then redis.call('HSET', w.key, name, w[COUNTS[i]]) end
    end
    for j = 1, 4 do w['t' .. j] = 0 end
    return keep_counts(w)
  end
  if w.newest < first then
    if w.newest > 0 then redis.call('DEL', w.key) end
    for _, name in ipairs(COUNTS) do w[name] = 0 end
    w.oldest, w.newest = w.bucket, w.bucket
    return
  end
  if w.oldest >= first then return end
  while w.oldest < first do
    local names = named(w.oldest)
    for i, count in ipairs(redis.call('HMGET', w.key, unpack(names))) do
      w[COUNTS[i]] = w[COUNTS[i]] - num(count)
    end
    redis.call('HDEL', w.key, unpack(names))
    w.oldest = w.oldest + 1
  end
  keep_counts(w)
end

local function window(key, i)
  local w = {key = key, calls = num(ARGV[i]), bucket_us = num(ARGV[i + 1]), buckets = num(ARGV[i + 2]),
             at_hand = num(ARGV[i + 3]), left = num(ARGV[i + 4]), late = num(ARGV[i + 5]), band = num(ARGV[i + 6]),
             floors = {}, shared = num(ARGV[i]), ceiling = num(ARGV[i + 10 + lane])}
  for j = 1, 4 do
    w.floors[j] = num(ARGV[i + 6 + j])
    w.shared = w.shared - w.floors[j]
  end
  w.bucket = math.floor(now / w.bucket_us)
  local kept = redis.call('HMGET', key, unpack(FIELDS))
  for n, name in ipairs(FIELDS) do w[name] = num(kept[n]) end
  sweep(w)
  return w
end

-- Until the oldest call that still counts does so no more.
local function expiry(w)
  local before = w.oldest
  while w.oldest < w.bucket do
    local empty = true
    for _, count in ipairs(redis.call('HMGET', w.key, unpack(named(w.oldest)))) do
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

-- First what another lane lets pass, for that is lost otherwise; then the lane's own, as evenly as it would be lent.
-- A burst is taken of what is anybody's while half of that is left, for it comes back as a burst an hour later: of a
-- floor, which is lent only evenly, most would lie idle then.  The other half is for whoever has used its floor up.
local function source(w)
  if w['u' .. lane] >= w.ceiling and others_want(w) then return nil, expiry(w) end
  local soonest = math.huge
  for j = 4, 1, -1 do
    local kept = j == 1 and w.at_hand or 0
    if j ~= tonumber(lane) and w['f' .. j] + kept < w.floors[j] then
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

local windows, sources, late = {}, {}, 0
for n = 3, #KEYS do
  local w = window(KEYS[n], FIRST + (n - 3) * PER_WINDOW)
  local found, comes_in = source(w)
  if not found then
    redis.call('HSET', w.key, 'm' .. lane, text(now))
    redis.call('PEXPIRE', w.key, math.ceil((w.buckets + 2) * w.bucket_us / 1000) + 1000)
    late = math.max(late, comes_in)
  end
  windows[#windows + 1], sources[#sources + 1] = w, found or ''
end
if late > 0 then return sent_away(KEYS[2], turn, late, hour_spread) end

for n, w in ipairs(windows) do
  local from, mine, bucket = sources[n], 'u' .. lane, math.floor(at / w.bucket_us)
  redis.call('HINCRBY', w.key, text(bucket) .. ':' .. from, 1)
  redis.call('HINCRBY', w.key, text(bucket) .. ':' .. mine, 1)
  local words = {from, w[from] + 1, mine, w[mine] + 1, 'm' .. lane, 0, 'oldest',
                 text(math.min(w.oldest, bucket)), 'newest', text(math.max(w.newest, bucket))}
  if from ~= 's' then
    local j = tonumber(string.sub(from, 2))
    words[#words + 1] = 't' .. j
    words[#words + 1] = text(math.max(w['t' .. j], now - w.band) + w.buckets * w.bucket_us / w.floors[j])
  end
  redis.call('HSET', w.key, unpack(words))
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

# KEYS: one for each window.  ARGV: now, lane, instant of the permit, then source and length of a bucket for each.
GIVE_BACK: Final = """
for n, key in ipairs(KEYS) do
  local source, mine = ARGV[2 + 2 * n], 'u' .. ARGV[2]
  local bucket = string.format('%.0f:', math.floor(tonumber(ARGV[3]) / tonumber(ARGV[3 + 2 * n])))
  if tonumber(redis.call('HGET', key, bucket .. source) or 0) > 0 then
    for _, name in ipairs({bucket .. source, bucket .. mine, source, mine}) do redis.call('HINCRBY', key, name, -1) end
  end
end
"""

# ARGV: now, wait asked for, instant of the permit of the call that was refused (0: unknown), how long a refusal is
# remembered after the gate's opening, longest wait that we add of our own.  Gives how long it is closed for from now
# on, 0 where it was closed for longer already.
CLOSE: Final = (
    _PRELUDE
    + """
local wait, permit_at, memory, longest = num(ARGV[2]), num(ARGV[3]), num(ARGV[4]), num(ARGV[5])
local gate = redis.call('HMGET', KEYS[1], 'shut_at', 'until', 'strikes')
local shut_at, opens, strikes = num(gate[1]), num(gate[2]), num(gate[3])
if now < shut_at then opens, strikes = 0, 0 end
-- Of many calls under way when it closed, each may be refused: they are one refusal.
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

# ARGV: now, length of the ramp.  Gives {µs until it opens, thousandths of the full pace}.
GATE: Final = (
    _PRELUDE
    + """
local gate = redis.call('HMGET', KEYS[1], 'shut_at', 'until')
local opens, ramp = num(gate[2]), num(ARGV[2])
if opens == 0 or now < num(gate[1]) or now >= opens + ramp then return {0, 1000} end
if now < opens then return {math.ceil(opens - now), 0} end
return {0, math.floor(1000 * math.max(0.05, (now - opens) / ramp))}
"""
)
