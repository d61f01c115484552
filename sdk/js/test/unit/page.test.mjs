import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { Chappe } from '../../build/index.js'
import { begin, msg, newWorld, tickOf } from './world.mjs'

let w
let client
let number = 0
const stored = new Map()
const store = { getItem: (k) => stored.get(k) ?? null, setItem: (k, v) => stored.set(k, v) }
let got
beforeEach(() => {
  w = newWorld()
  stored.clear()
  got = []
})
afterEach(() => {
  client.close()
  w.end()
})
const open = async (o) => {
  client = new Chappe(`http://page${number++}`, { transports: ['ws'], nearest: false, ...o })
  client.channel('a').on('message', (m) => got.push(m.data))
  await w.pass(0)
}
const phases = () => {
  const all = []
  client.on('state', (s) => all.push(s.phase))
  return all
}

test('the network is back: an attempt soon, but not all at once (CLIENTS §11)', async () => {
  await open()
  for (let i = 0; i < 8; i++) {
    await w.pass(i && client.state.until - w.at)
    w.last.drop()
    await w.pass(0)
  }
  assert.equal(client.state.phase, 'waiting')
  assert.ok(client.state.until - w.at > 10_000)
  const before = w.sockets.length
  w.fire('online')
  await w.pass(499)
  assert.equal(w.sockets.length, before)
  await w.pass(2)
  assert.equal(w.sockets.length, before + 1)
})

test('but advice of the relay holds', async () => {
  await open()
  w.last.drop(1013, { retry_ms: 20_000 })
  await w.pass(0)
  w.fire('online')
  await w.pass(19_000)
  assert.equal(w.sockets.length, 1)
  await w.pass(1001)
  assert.equal(w.sockets.length, 2)
})

test('a connection is asked whether it lives, and left if it does not', async () => {
  await open()
  w.last.welcome({ ping_ms: 10_000, dead_ms: 15_000 })
  await w.pass(100)
  const first = w.last
  w.fire('online')
  const asked = first.sent.at(-1)
  assert.equal(asked.t, 'unsub')
  first.say({ t: 'err', ref: asked.ref, code: 'not_subscribed' })
  await w.pass(4000)
  assert.equal(client.state.phase, 'live')
  w.fire('online')
  await w.pass(3000)
  assert.equal(first.closed, 1000)
  assert.equal(client.state.phase, 'waiting')
})

test('a page that is seen again asks only where it was silent for long', async () => {
  await open()
  w.last.welcome({ ping_ms: 10_000, dead_ms: 60_000 })
  await w.pass(14_000)
  const sent = w.last.sent.length
  w.fire('visibilitychange')
  assert.equal(w.last.sent.length, sent)
  await w.pass(1500)
  w.fire('visibilitychange')
  assert.equal(w.last.sent.length, sent + 1)
})

test('a page that slept reads what has come before it takes a relay for dead', async () => {
  await open()
  w.last.welcome({ ping_ms: 10_000, dead_ms: 15_000 })
  await w.pass(0)
  w.sleep(60_000)
  await w.pass(0)
  assert.equal(client.state.phase, 'live')
  w.last.say(msg('a', 2))
  await w.pass(10_000)
  assert.equal(client.state.phase, 'live')
  assert.deepEqual(got, [2])
  await w.pass(20_000)
  assert.notEqual(client.state.phase, 'live') // now it is
})

test('put away: the connection is closed, and cursors are stored; back: it resumes', async () => {
  await open({ store })
  w.last.welcome()
  w.last.say(msg('a', 2), msg('a', 3))
  await w.pass(2000)
  w.fire('pagehide')
  await w.pass(60_000)
  assert.equal(w.last.closed, 1000)
  assert.equal(w.sockets.length, 1)
  assert.equal(tickOf([...stored.values()][0]), 3)
  w.fire('pageshow')
  await w.pass(1000)
  assert.equal(w.sockets.length, 2)
  const hello = w.last.welcome()
  assert.equal(tickOf(hello.subs[0].cursor), 3)
})

test('a page that is loaded again goes on where it was', async () => {
  await open({ store })
  const url = `http://page${number - 1}`
  w.last.welcome()
  w.last.say(msg('a', 2))
  w.hidden = true
  w.fire('visibilitychange')
  client.close()
  client = new Chappe(url, { transports: ['ws'], nearest: false, store })
  void client.channel('a').subscribe()
  await w.pass(0)
  w.last.open()
  assert.equal(tickOf(w.last.sent[0].subs[0].cursor), 2)
})

test('put away and back is no reason to go to another region', async () => {
  client = new Chappe(['http://one', 'http://two'], { transports: ['ws'], nearest: false })
  client.channel('a').on('message', () => {})
  await w.pass(0)
  w.last.welcome()
  for (const lived of [200, 5000]) {
    await w.pass(lived)
    w.fire('pagehide')
    await w.pass(60_000)
    w.fire('pageshow')
    await w.pass(0)
    w.last.welcome()
  }
  assert.deepEqual(w.sockets.map((s) => s.url), Array(3).fill('ws://one/v1/ws'))
})

test('a page that is put away while it connects does not go on with that', async () => {
  await open()
  w.fire('pagehide')
  await w.pass(10)
  assert.equal(w.last.closed, 1000)
  assert.equal(client.state.phase, 'idle')
  await w.pass(60_000)
  assert.equal(w.sockets.length, 1)
  w.fire('pageshow')
  await w.pass(0)
  assert.equal(w.sockets.length, 2)
})

test('a store that is full harms nobody', async () => {
  const full = { getItem: () => null, setItem: () => assert.fail('QuotaExceededError') }
  await open({ store: full })
  w.last.welcome()
  w.last.say(msg('a', 2))
  w.hidden = true
  w.fire('visibilitychange')
  client.close()
  assert.equal(client.state.phase, 'closed')
})

test('a stored cursor that is none is forgotten, and told as a loss of nobody knows how much', async () => {
  const url = `http://page${number++}`
  stored.set(`chappe:${url}:a`, 'garbage')
  const gaps = []
  for (let load = 0; load < 2; load++) {
    client = new Chappe(url, { transports: ['ws'], nearest: false, store })
    const granted = client
      .channel('a')
      .on('message', () => {})
      .on('gap', (g) => gaps.push([g.count, g.reason]))
      .subscribe()
    await w.pass(0)
    w.last.welcome()
    await granted
    client.close()
  }
  assert.deepEqual(gaps, [[0, 'damaged']])
  // One that the application gives is its own business.
  client = new Chappe(url, { transports: ['ws'], nearest: false, store })
  await assert.rejects(client.channel('b', { cursor: 'garbage' }).subscribe(), { code: 'bad_cursor' })
})

test('states are told once and in order', async () => {
  client = new Chappe(`http://page${number++}`, { transports: ['ws'], nearest: false })
  const all = phases()
  const ch = client.channel('a')
  void ch.subscribe()
  await w.pass(0)
  w.last.welcome()
  await w.pass(1000)
  w.last.drop()
  await w.pass(1000)
  w.last.welcome()
  await w.pass(0)
  client.close()
  assert.deepEqual(all, ['connecting', 'live', 'waiting', 'connecting', 'live', 'closed'])
})

test('a channel that was closed goes on behind what it took, also in this page', async () => {
  await open({ store })
  w.last.welcome()
  const one = client.channel('b').on('message', (m) => got.push(m.data))
  await w.pass(0)
  w.last.say({ t: 'subbed', ref: w.last.sent.at(-1).ref, channel: 'b', cursor: begin }, msg('b', 2))
  w.fire('pagehide') // stores, and ends the connection
  w.fire('pageshow')
  await w.pass(2000)
  w.last.welcome()
  for (let n = 3; n < 6; n++) w.last.say(msg('b', n))
  one.close()
  client.channel('b').on('message', (m) => got.push(m.data))
  await w.pass(0)
  assert.equal(tickOf(w.last.sent.findLast((f) => f.t === 'sub').cursor), 5)
})

test('of several that share a name the last place is stored that is behind none of them', async () => {
  for (const slowFirst of [true, false]) {
    await open({ store })
    client.close()
    client = new Chappe(`http://page${number++}`, { transports: ['ws'], nearest: false, store })
    const slow = () => void client.channel('a')[Symbol.asyncIterator]().next()
    if (slowFirst) slow()
    client.channel('a').on('message', () => {})
    if (!slowFirst) slow()
    await w.pass(0)
    w.last.welcome()
    for (let n = 2; n < 9; n++) w.last.say(msg('a', n))
    await w.pass(0)
    w.fire('pagehide')
    assert.deepEqual([...stored.values()].map(tickOf), [2])
    client.close()
    stored.clear()
  }
})
