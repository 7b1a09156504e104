// The least of a Cozy stack that the original's library needs: its data API, passed on to a CouchDB-protocol server.
//
//   STACK_COUCHDB=http://127.0.0.1:5984 STACK_PREFIX=home- node stack.js   prints its port, serves until killed
//
// Each question of the library becomes one question to CouchDB (and the first of a doctype makes its database).  The real stack does more (it checks the token and its
// rights, looks for the old document before an update, wakes triggers), so what is measured here flatters the original.
// Needs nothing but Node.js.
'use strict'

const http = require('http')

const COUCHDB = new URL(process.env.STACK_COUCHDB)
const PREFIX = process.env.STACK_PREFIX || ''
const MOST_FOUND = 100 // of _find where nobody says how many, as in the stack
// undefined without a user: then the server is open
const auth = COUCHDB.username ? decodeURIComponent(`${COUCHDB.username}:${COUCHDB.password}`) : undefined
const agent = new http.Agent({ keepAlive: true, timeout: 2000 }) // before the server's 5 s are over

// Dots are illegal in the names of databases; the stack writes dashes.
const databaseOf = (doctype) => PREFIX + doctype.toLowerCase().replace(/[.:]/g, '-')

const textOf = async (stream) => {
  const parts = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts).toString()
}

const ask = (method, path, body) =>
  new Promise((resolve, reject) => {
    const headers = { accept: 'application/json' }
    if (body !== undefined) {
      headers['content-type'] = 'application/json'
      headers['content-length'] = Buffer.byteLength(body)
    }
    const options = { agent, auth, method, host: COUCHDB.hostname, port: COUCHDB.port, path, headers }
    const request = http.request(options, (answer) => {
      textOf(answer).then((text) => resolve({ status: answer.statusCode, text }), reject)
    })
    // A kept connection may have been closed at the other end just now: that question is put once more, on a new one.
    request.on('error', (error) => (request.reusedSocket ? resolve(ask(method, path, body)) : reject(error)))
    request.end(body)
  })

// The first document or index of a doctype makes its database.
const askAndMake = async (method, database, rest, body) => {
  const answer = await ask(method, `/${database}${rest}`, body)
  if (answer.status !== 404) return answer
  await ask('PUT', `/${database}`)
  return ask(method, `/${database}${rest}`, body)
}

// What CouchDB says of a written document, as the stack says it: with the document.
const written = ({ status, text }, doctype, document) => {
  if (status >= 300) return { status, text }
  const { id, rev } = JSON.parse(text)
  const data = { ...document, _id: id, _rev: rev, _type: doctype }
  return { status, text: JSON.stringify({ ok: true, id, rev, type: doctype, data }) }
}

// CouchDB says at once that an index exists.  pouchdb-server would bring it up to date first, which takes minutes in a
// large database and would be held against the original: so it is asked for its list of indexes instead.
const indexes = new Map()

const defineIndex = async (database, body) => {
  const name = `${database} ${body}`
  if (indexes.has(name)) {
    const { status, text } = await ask('GET', `/${database}/_index`)
    return status === 200 ? { status, text: indexes.get(name) } : { status, text }
  }
  const made = await askAndMake('POST', database, '/_index', body)
  if (made.status < 300) indexes.set(name, JSON.stringify({ ...JSON.parse(made.text), result: 'exists' }))
  return made
}

const reply = async (method, url, body) => {
  const [, root, encoded, id] = url.pathname.split('/')
  if (root !== 'data' || !encoded) return { status: 404, text: '{"error":"not_found"}' }
  const doctype = decodeURIComponent(encoded)
  const database = databaseOf(doctype)
  if (method === 'POST' && !id) {
    return written(await askAndMake('POST', database, '', body), doctype, JSON.parse(body))
  }
  if (id === '_index') return defineIndex(database, body)
  if (id === '_find') {
    return ask(method, `/${database}/_find`, JSON.stringify({ limit: MOST_FOUND, ...JSON.parse(body) }))
  }
  const answer = await ask(method, `/${database}/${id}${url.search}`, body || undefined)
  return method === 'PUT' ? written(answer, doctype, JSON.parse(body)) : answer
}

const server = http.createServer(async (request, response) => {
  let answer
  try {
    answer = await reply(request.method, new URL(request.url, 'http://stack'), await textOf(request))
  } catch (error) {
    answer = { status: 502, text: JSON.stringify({ error: String(error.message) }) }
  }
  response.writeHead(answer.status, { 'content-type': 'application/json' })
  response.end(answer.text)
})
server.keepAliveTimeout = 60000
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
