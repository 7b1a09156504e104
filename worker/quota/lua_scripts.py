"""The Lua scripts for the permit ledger and the gate; Redis runs each of them atomically.

Times and spans are in µs. Times are by the clock of Redis or, in simulations, by the caller's. A stored time that lies
further ahead than a script would write now is ignored. So a raised limit applies at once, and a clock that was set back
doesn't stop all calls.

The hash of the gate, ``releve:gate:enedis-v5:state``:

    shut_at   1721880000000000   when the gate was closed
    until     1721880060000000   when the gate opens
    strikes   1                  how often the gate was closed again soon after it had opened
    next      1721880060250000   the next free slot while the gate opens gradually
    code      GATEWAY_BANNED     the code of the error that closed the gate; empty if unknown

The hash of the pace, ``releve:permit:enedis-v5:data:pace``:

    next      1721880000250000   the next free slot
    floor2    1721880000833000   when lane 2 may use its floor of the pace again (floor1 to floor5)

The hash of a window, ``releve:permit:enedis-v5:data:hourly``:

    76528000:2   12                 permits of lane 2 in bucket 76528000, which is a time divided by a bucket's length
    wanted2      1721880090000000   until when lane 2 counts as wanting a permit, because it got none
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
#    1  0          now; 0 means the clock of Redis
#    2  1000000    patience: how long the caller is ready to wait
#    3  2          lane, 1 to 5
#    4  250001     spacing of the pace; 0: no pace
#    5  60000000   length of the ramp, on which the gate opens gradually
#    6  250001     spacing at the end of the ramp
#    7  1000000    the longest patience of any caller
#    8  65         percentage of its patience for which this lane waits above its floor
#    9  833336     spacing of permits in this lane's floor of the pace; 0: no floor
#   10  160        number of buckets in a window
#   11  5          number of lanes
#   12  0          1 if this lane's ceiling applies even when no other lane wants a permit, else 0
# Then five kinds of arguments for each window, here for the hour:
#   13  10000      limit of calls
#   14  22500000   length of a bucket
#   15  25         calls that this lane leaves to the lanes that are served before it
#   16  10000      ceiling of this lane
#   17  1000 3000 1000 1000 0   the floors of all lanes
# Returns {0, wait, now} without a permit, or {1, wait, now, time of the permit}.
TAKE_PERMIT: Final = (
    _PRELUDE
    + """
local patience, lane, spacing, ramp, ramp_spacing = num(ARGV[2]), num(ARGV[3]), num(ARGV[4]), num(ARGV[5]), num(ARGV[6])
local longest, own_percent, floor_spacing, BUCKETS = num(ARGV[7]), num(ARGV[8]), num(ARGV[9]), num(ARGV[10])
local LANES, hard_ceiling = num(ARGV[11]), num(ARGV[12]) == 1
local MINUTE, FIRST, PER_WINDOW = 60000000, 13, 4 + LANES
-- Of the others' floors the coming three buckets are free at any time: a first screen begins at once.
local AHEAD = 3

local function refuse(wait) return {0, math.ceil(wait), now} end

-- A moment that no script can have written by this clock comes from a clock that was set back: ignore it.
local function plausible(value, furthest)
  local moment = num(value)
  return moment <= now + furthest and moment or 0
end

local gate = redis.call('HMGET', KEYS[1], 'shut_at', 'until', 'next')
local shut_at, opens = num(gate[1]), num(gate[2])
-- A gate that was closed in the future was closed before the clock was set back: it counts as open.
local gate_counts = now >= shut_at
if gate_counts and now < opens then return refuse(opens - now) end

local wait, ramp_step = 0, 0
if gate_counts and opens > 0 and now - opens < ramp then
  ramp_step = ramp_spacing / math.max(0.05, (now - opens) / ramp)
  wait = math.max(0, plausible(gate[3], 2 * longest + 20 * ramp_spacing) - now)
end
local pace = redis.call('HMGET', KEYS[2], 'next', 'floor' .. lane)
wait = math.max(wait, plausible(pace[1], 2 * longest + spacing) - now)
local floor_due = plausible(pace[2], floor_spacing)
local under_floor = floor_spacing > 0 and floor_due <= now

-- Read a window: which permits of each lane still count when so many more buckets are over, if nobody takes any.
local function window(key, i)
  local w = {key = key, calls = num(ARGV[i]), bucket_us = num(ARGV[i + 1]), leave = num(ARGV[i + 2]),
             ceiling = num(ARGV[i + 3]), floors = {}, left = {}, others_want = false}
  local bucket, counts = math.floor(now / w.bucket_us), {}
  for j = 1, LANES do counts[j] = {} end
  local newest = math.floor((now + longest) / w.bucket_us) + 1
  local fields = redis.call('HGETALL', key)
  for n = 1, #fields, 2 do
    local at, of = string.match(fields[n], '^(%d+):(%d)$')
    if not at then
      local until_when = plausible(fields[n + 1], (BUCKETS + 1) * w.bucket_us + MINUTE)
      if fields[n] ~= 'wanted' .. lane and until_when > now then w.others_want = true end
    elseif num(at) < bucket - BUCKETS then
      redis.call('HDEL', key, fields[n])
    else
      at, of = num(at), num(of)
      -- After the clock was set back, count a later call as made now.
      if at > newest then
        redis.call('HDEL', key, fields[n])
        redis.call('HINCRBY', key, text(bucket) .. ':' .. of, fields[n + 1])
      end
      local over = at > newest and BUCKETS or math.min(at - bucket + BUCKETS, BUCKETS)
      counts[of][over] = (counts[of][over] or 0) + num(fields[n + 1])
    end
  end
  for j = 1, LANES do
    w.floors[j], w.left[j] = num(ARGV[i + 3 + j]), {}
    local left = 0
    for over = BUCKETS, 0, -1 do
      left = left + (counts[j][over] or 0)
      w.left[j][over] = left
    end
  end
  return w
end

-- Tell whether this lane may take a permit when ``first`` more buckets are over: never above the limit, and so that
-- what the others have not used of their floors can still come evenly over the window. Above its floor a lane also
-- leaves something to the lanes before it, and ends at its ceiling while another lane wants more, or at a hard one.
local function fits(w, first)
  local mine = w.left[lane]
  local own = mine[first] < w.floors[lane]
  if (w.others_want or hard_ceiling) and mine[first] >= w.ceiling then return false end
  for over = first, BUCKETS do
    local taken = mine[over] + 1 + (own and 0 or w.leave)
    for j = 1, LANES do
      if j ~= lane then
        local used, floor = w.left[j][first], w.floors[j]
        local due = used + (floor - used) * (over - first + (own and 0 or AHEAD)) / BUCKETS
        taken = taken + math.max(w.left[j][over], math.min(floor, due))
      end
    end
    if taken > w.calls then return false end
  end
  return true
end

-- All windows are checked before any is written: a permit is taken of all of them or of none.
local windows, late = {}, 0
for n = 3, #KEYS do
  local w = window(KEYS[n], FIRST + (n - 3) * PER_WINDOW)
  windows[#windows + 1] = w
  if not fits(w, 0) then
    -- The longer one waits the better it fits, so the end of the wait is found by halving.
    local early, enough = 0, BUCKETS + 1
    while enough - early > 1 do
      local middle = math.floor((early + enough) / 2)
      if fits(w, middle) then enough = middle else early = middle end
    end
    local free_in = (math.floor(now / w.bucket_us) + enough) * w.bucket_us - now
    -- A lane at its hard ceiling can't take what another leaves, so it doesn't hold the others at their ceilings.
    if not (hard_ceiling and w.left[lane][0] >= w.ceiling) then
      redis.call('HSET', w.key, 'wanted' .. lane, text(now + free_in + MINUTE))
      redis.call('PEXPIRE', w.key, math.ceil((BUCKETS + 2) * w.bucket_us / 1000) + 1000)
    end
    late = math.max(late, free_in)
  end
end
if late > 0 then return refuse(late) end
if wait > (under_floor and patience or patience * own_percent / 100) then return refuse(wait) end

local at = now + wait
for _, w in ipairs(windows) do
  redis.call('HINCRBY', w.key, text(math.floor(at / w.bucket_us)) .. ':' .. lane, 1)
  redis.call('HDEL', w.key, 'wanted' .. lane)
  redis.call('PEXPIRE', w.key, math.ceil(((BUCKETS + 2) * w.bucket_us + longest) / 1000))
end
if spacing > 0 then
  redis.call('HSET', KEYS[2], 'next', text(at + spacing))
  if under_floor then
    redis.call('HSET', KEYS[2], 'floor' .. lane, text(math.max(floor_due, now - floor_spacing) + floor_spacing))
  end
  redis.call('PEXPIRE', KEYS[2], math.ceil((longest + spacing) / 1000) + 120000)
end
if ramp_step > 0 then redis.call('HSET', KEYS[1], 'next', text(at + ramp_step)) end
return {1, math.ceil(wait), now, text(at)}
"""
)
# KEYS: the gate.
# ARGV:
#   1  0                 now; 0 means the clock of Redis
#   2  60000000          the wait that the supplier asked for
#   3  1721880000250000  time of the refused call's permit; 0: unknown
#   4  660000000         how long a refusal is remembered after the gate opens
#   5  3600000000        the longest wait after doubling; if the supplier asks for more, the wait is as asked
#   6  GATEWAY_BANNED    the code of the refused call's error; may be empty
# Returns how long the gate is closed from now on; 0 if the gate was closed for longer already.
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
redis.call('HSET', KEYS[1], 'shut_at', text(now), 'until', text(now + wait), 'strikes', strikes, 'next', 0,
  'code', ARGV[6])
redis.call('PEXPIRE', KEYS[1], math.ceil((wait + memory) / 1000))
return math.ceil(wait)
"""
)
