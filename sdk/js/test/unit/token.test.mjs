// Credentials and those who bring them (CLIENTS §2, §8).
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { Chappe } from '../../build/index.js'
import { env } from '../../build/env.js'
import { Credentials } from '../../build/token.js'
import { json, newWorld, well } from './world.mjs'

let w
let client
let number = 0
const after = env.after
beforeEach(() => (w = newWorld()))
afterEach(() => {
  client?.close()
  w.end()
})
const open = (token, o) => {
  client = new Chappe(`http://token${number++}`, { nearest: false, token, ...o })
  client.channel('a').on('message', () => {})
}
const held = () => new Promise(() => {})

test('a timer that is longer than the platform’s goes off when it is due, and not before', async (t) => {
  let called = 0
  const cancel = after(60 * 86_400_000, () => called++)
  await new Promise((go) => setTimeout(go, 20)) // one that overflows has gone off by now
  assert.equal(called, 0)
  cancel()
  t.mock.timers.enable({ apis: ['setTimeout'] })
  after(60 * 86_400_000, () => called++)
  for (let hour = 0; hour < 60 * 24 - 1; hour++) t.mock.timers.tick(3_600_000)
  assert.equal(called, 0)
  for (let hour = 0; hour < 4; hour++) t.mock.timers.tick(3_600_000) // each timer may be an hour late here
  assert.equal(called, 1)
  after(30 * 86_400_000, () => called++)()
  for (let day = 0; day < 40; day++) t.mock.timers.tick(86_400_000)
  assert.equal(called, 1)
})

test('a token that lives for two months is brought once', async () => {
  Object.assign(env, { after })
  let asked = 0
  open(() => (asked++, 'token'), { transports: ['ws'] })
  await new Promise(setImmediate)
  w.last.welcome({ expires: w.at + 60 * 86_400_000 })
  await new Promise((go) => setTimeout(go, 50))
  assert.equal(asked, 1)
  assert.equal(w.last.sent.filter((f) => f.t === 'refresh').length, 0)
})

test('a callback that never answers is given up after 30 s, and asked again', async () => {
  let asked = 0
  open(() => (asked++ ? 'token' : held()), { transports: ['ws'] })
  await w.pass(29_999)
  assert.deepEqual([asked, client.state.phase], [1, 'connecting'])
  await w.pass(2000)
  assert.equal(asked, 2)
  w.last.welcome()
  await w.pass(0)
  assert.equal(client.state.phase, 'live')
})

test('head starts are for the network: they begin when the token is there', async () => {
  w.answer = held
  let asked = 0
  open(() => (asked++, new Promise((yes) => env.after(5000, () => yes('token')))))
  await w.pass(4999)
  assert.equal(w.sockets.length + w.requests.length, 0)
  await w.pass(1)
  assert.deepEqual([w.sockets.length, w.requests.length, asked], [1, 0, 1])
  await w.pass(1000)
  assert.deepEqual([w.sockets.length, w.requests.length, asked], [1, 1, 1])
})

test('a callback that fails is asked once for each attempt', async () => {
  let asked = 0
  open(() => {
    asked++
    throw new Error('no')
  })
  await w.pass(0)
  assert.deepEqual([asked, client.state.phase, client.state.error.message], [1, 'waiting', 'no'])
  await w.pass(client.state.until - w.at)
  assert.equal(asked, 2)
})

const jwt = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
const who = (token) => new Credentials(token).who()

test('two tokens are one user’s where they say the same, but for their times and numbers', async () => {
  const ann = await who(jwt({ sub: 'ann', iat: 1, exp: 2, jti: 'x' }))
  assert.equal(await who(jwt({ sub: 'ann', iat: 5, exp: 9, nbf: 1 })), ann)
  assert.match(ann, /^[\w+/]{43}=$/) // hashed: nobody reads a name there
  assert.notEqual(await who(jwt({ sub: 'bob', iat: 1, exp: 2, jti: 'x' })), ann)
  assert.notEqual(await who(jwt({ sub: 'ann', chappe: { grants: [] } })), ann)
  assert.equal(await who(''), '')
  for (const opaque of ['key-1', 'a.b.c', 'a.']) assert.equal(await who(opaque), undefined, opaque)
})

/** The relay's answers for a while, each refresh acknowledged with these members; the result counts the questions. */
const serve = async (ms, end, welcome = end) => {
  let asked = 0
  open(() => `token${asked++}`, { transports: ['ws'] })
  await w.pass(0)
  w.last.welcome(welcome())
  for (let t = 0; t < ms; t += 500) {
    await w.pass(500)
    for (const f of w.last.sent.splice(1)) if (f.t === 'refresh') w.last.say({ t: 'ack', ref: f.ref, ...end() })
  }
  return asked
}

test('when a token ends is reckoned from now: clocks may differ by hours', async () => {
  for (const skew of [-3_600_000, 0, 3_600_000]) {
    const asked = await serve(3_600_000, () => ({ expires: w.at + skew + 900_000, expires_ms: 900_000 }))
    assert.ok(asked === 5, `${asked} tokens of 15 min in an hour, the relay's clock at ${skew}`)
    client.close()
  }
})

test('an end that has passed by our clock says nothing: the token is not asked for again and again', async () => {
  for (const early of [3_600_000, 900_000, 890_001]) {
    assert.equal(await serve(120_000, () => ({ expires: w.at + 900_000 - early })), 1, `ahead by ${early} ms`)
    client.close()
  }
  // A clock that is ahead by less brings it too often, but not at once.
  assert.ok((await serve(60_000, () => ({ expires: w.at + 11_000 }))) < 9)
})

test('a refresh without an answer is forgotten: no URL has the token, and it keeps nobody connected', async () => {
  let asked = 0
  const url = `http://token${number++}`
  client = new Chappe(url, { nearest: false, token: () => `secret${asked++}`, transports: ['ws', 'sse'] })
  const ch = client.channel('a').on('message', () => {})
  w.answer = () => held()
  await w.pass(0)
  w.last.welcome({ expires: w.at, expires_ms: 20_000 })
  await w.pass(20_000)
  assert.equal(w.last.sent.filter((f) => f.t === 'refresh').length, 1)
  w.answer = (u) => (u.includes('/v1/probe') ? json(well) : u.includes('/v1/sse') ? new Response(new ReadableStream({ start: (c) => c.enqueue(new TextEncoder().encode('data: {"t":"welcome","version":1}\n\n')) })) : json({}, 404))
  w.last.drop()
  for (let i = 0; i < 30; i++) {
    if (w.last.closed === undefined) w.last.drop()
    await new Promise(setImmediate)
    await w.pass(500)
  }
  assert.deepEqual([client.state.phase, client.state.transport], ['live', 'sse'])
  assert.deepEqual(w.requests.filter((r) => /secret|refresh/.test(r.url)), [])
  ch.close()
  await w.pass(0)
  assert.equal(client.pending.size, 0)
})
