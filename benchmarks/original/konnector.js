// One sync as the original does it, with the library that it was made of; what is around the library is our own.
//
//   COZY_URL=… COZY_CREDENTIALS=… NODE_ENV=production node konnector.js < job.json
//
// The job: "flow" ("library" or "konnector"), "daily" ([["2024-07-24", Wh], …]) and "curves", one list for each call to
// the supplier ([["2024-07-24 00:30:00", W], …], labels at the ends of half-hours, local time).  The last line printed
// is a JSON object: seconds from the first look into the store to the last writing, by the clock and of the processor,
// and the documents added.
'use strict'

const { addData, cozyClient, hydrateAndFilter } = require('cozy-konnector-libs')

const DOCTYPE = 'com.grandlyon.enedis.'
const KEYS = {
  minute: ['year', 'month', 'day', 'hour', 'minute'],
  hour: ['year', 'month', 'day', 'hour'],
  day: ['year', 'month', 'day'],
  month: ['year', 'month'],
  year: ['year'],
}
const HALF_HOUR_MS = 30 * 60 * 1000

const rounded = (value, decimals) => Number(value.toFixed(decimals))

const entryOf = (moment, load) => ({
  load,
  year: moment.getUTCFullYear(),
  month: moment.getUTCMonth() + 1,
  day: moment.getUTCDate(),
  hour: moment.getUTCHours(),
  minute: moment.getUTCMinutes(),
})

const dayEntries = (rows) => rows.map(([day, wh]) => entryOf(new Date(`${day}T00:00:00Z`), wh / 1000))

// Local labels are reckoned with as if they were UTC: no clock changes within the benchmark's 28 days.
const minuteEntries = (rows) =>
  rows.map(([label, watts]) => {
    const start = new Date(Date.parse(`${label.replace(' ', 'T')}Z`) - HALF_HOUR_MS)
    return entryOf(start, rounded(watts / 2 / 1000, 6))
  })

const totals = (entries, period) => {
  const sums = new Map()
  for (const entry of entries) {
    const key = KEYS[period].map((name) => entry[name]).join('-')
    const found = sums.get(key) || { ...entry, ...placeholders(period), load: 0 }
    found.load += entry.load
    sums.set(key, found)
  }
  return [...sums.values()].map((total) => ({ ...total, load: rounded(total.load, 4) }))
}

const placeholders = (period) =>
  ({ hour: { minute: 0 }, month: { day: 0, hour: 0, minute: 0 }, year: { month: 1, day: 0, hour: 0, minute: 0 } })[period]

const unknown = (entries, period) => hydrateAndFilter(entries, DOCTYPE + period, { keys: KEYS[period] })
const add = (entries, period) => addData(entries, DOCTYPE + period)

// -- the least that the library can do it with: each doctype filtered once, what is new added

const byLibrary = async (job) => {
  const days = dayEntries(job.daily)
  const minutes = minuteEntries(job.curves.flat())
  const all = { day: days, minute: minutes }
  for (const period of ['month', 'year']) all[period] = totals(days, period)
  all.hour = totals(minutes, 'hour')
  let added = 0
  for (const [period, entries] of Object.entries(all)) added += (await add(await unknown(entries, period), period)).length
  return added
}

// -- as the konnector is described: filter, filter again and add, then the totals that these entries belong to

const store = async (entries, period) => (await add(await unknown(entries, period), period)).length

// A total in progress is looked for among all of its doctype, taken out, and its load carried over.
const carriedOver = async (total, period) => {
  const stored = await cozyClient.data.findAll(DOCTYPE + period)
  let load = 0
  for (const old of stored.filter((found) => KEYS[period].every((name) => found[name] === total[name]))) {
    await cozyClient.data.delete(DOCTYPE + period, old)
    load += old.load
  }
  return load
}

const storeTotals = async (entries, period) => {
  const made = []
  for (const total of totals(entries, period)) {
    made.push({ ...total, load: rounded(total.load + (await carriedOver(total, period)), 4) })
  }
  return store(made, period)
}

const process_ = async (entries, period, periodsOfTotals) => {
  const news = await unknown(entries, period)
  if (news.length === 0) return 0 // spares the original a second look for nothing
  let added = await store(news, period)
  for (const total of periodsOfTotals) added += await storeTotals(news, total)
  return added
}

const byKonnector = async (job) => {
  let added = await process_(dayEntries(job.daily), 'day', ['month', 'year'])
  for (const rows of job.curves) added += await process_(minuteEntries(rows), 'minute', ['hour'])
  return added
}

const main = async () => {
  const parts = []
  for await (const part of process.stdin) parts.push(part)
  const job = JSON.parse(Buffer.concat(parts).toString())
  const sync = { library: byLibrary, konnector: byKonnector }[job.flow]
  const began = process.hrtime.bigint()
  const used = process.cpuUsage()
  const added = await sync(job)
  const { user, system } = process.cpuUsage(used)
  const seconds = Number(process.hrtime.bigint() - began) / 1e9
  console.log(JSON.stringify({ seconds, cpu_seconds: (user + system) / 1e6, added }))
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
