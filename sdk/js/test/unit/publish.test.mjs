// Requests and their answers, across connections (CLIENTS §7).
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { Chappe } from '../../build/index.js'
import { json, newWorld, settle, well } from './world.mjs'

let w
let client
let number = 0
beforeEach(() => (w = newWorld()))
afterEach(() => {
  client?.close()
  w.end()
})
const open = (...transports) => (client = new Chappe(`http://publish${number++}`, { transports, nearest: false }))
const sent = (t) => w.last.sent.filter((f) => f.t === t)
const turn = async (ms = 1) => {
  for (let i = 0; i < 20; i++) {
    await new Promise(setImmediate)
    await w.pass(ms)
  }
}

test('what cannot be sent is refused at once, and harms nobody', async () => {
  open('ws')
  const loop = {}
  loop.loop = loop
  for (const [data, o] of [[{ id: 10n }], [loop], [1, { key: 10n }]]) await assert.rejects(client.publish('a', data, o), TypeError)
  await assert.rejects(client.channel('a').history({ last: 10n }), TypeError)
  await assert.rejects(client.channel('a', { last: 10n }).subscribe(), TypeError)
  const ack = client.publish('a', 'fine')
  await w.pass(0)
  w.last.welcome()
  await settle()
  w.last.say({ t: 'ack', ref: sent('pub')[0].ref, stamp: 's.1.1' })
  assert.equal((await ack).stamp, 's.1.1')
})

test('a message is sent as it was when it was published', async () => {
  open('ws')
  const data = { n: 1 }
  const bytes = new Uint8Array([1])
  client.publish('a', data).catch(() => {})
  client.publish('a', bytes).catch(() => {})
  data.n = bytes[0] = 2
  await w.pass(0)
  w.last.welcome()
  await settle()
  assert.deepEqual(sent('pub').map((f) => f.data), [{ n: 1 }, 'AQ=='])
})

test('without a connection at most 1000 requests wait', async () => {
  open('ws')
  for (let n = 0; n < 1000; n++) client.publish('a', n).catch(() => {})
  await assert.rejects(client.publish('a', 1000), { code: 'too_many' })
  await w.pass(0)
  w.last.welcome()
  await settle()
  assert.equal(sent('pub').length, 1000)
  client.publish('a', 1000).catch(() => {}) // with one it is the relay that says
  assert.equal(sent('pub').length, 1001)
})

test('an abort, or the end, is heard while a publication waits to be made again; no timer stays', async () => {
  open('ws')
  const abort = new AbortController()
  const ended = [client.publish('a', 1, { signal: abort.signal }), client.publish('a', 2)].map((p) => p.catch((e) => e.message))
  await w.pass(0)
  w.last.welcome()
  await settle()
  for (const { ref } of sent('pub')) w.last.say({ t: 'err', ref, code: 'overloaded', retry_ms: 500_000 })
  await settle()
  abort.abort(new Error('no more'))
  assert.equal(await ended[0], 'no more')
  client.close()
  assert.equal(await ended[1], 'closed')
  await w.pass(1) // what the end itself had to do
  assert.equal(w.timers, 0)
})

test('the same over HTTP, where nobody answers', async () => {
  w.answer = (url) => (/probe/.test(url) ? json(well) : undefined)
  open('sse')
  const ended = client.publish('a', 1).catch((e) => e.message)
  await turn(1000)
  assert.ok(w.requests.filter((r) => /messages/.test(r.url)).length > 2)
  client.close()
  assert.equal(await ended, 'closed')
  await w.pass(1)
  assert.equal(w.timers, 0)
})

for (const transport of ['sse', 'poll']) {
  test(`${transport}: publications arrive in their order, also where one is made again`, async () => {
    const bodies = []
    let fails = 2
    w.answer = (url, { body, signal }) => {
      if (/probe/.test(url)) return json(well)
      if (!/messages/.test(url)) return new Promise((_, no) => signal.addEventListener('abort', () => no(signal.reason)))
      const [{ data }] = JSON.parse(body).messages
      if (data === 1 && fails--) return undefined
      bodies.push(data)
      return json({ results: [{ t: 'ack', stamp: `s.${data}.1` }] })
    }
    open(transport)
    const all = [1, 2, 3].map((n) => client.publish('a', n))
    await turn(200)
    assert.deepEqual((await Promise.all(all)).map((a) => a.stamp), ['s.1.1', 's.2.1', 's.3.1'])
    assert.deepEqual(bodies, [1, 2, 3])
  })
}

test('over HTTP a refused token is replaced once', async () => {
  const shown = []
  w.answer = (url, { headers }) => {
    if (/probe/.test(url)) return json(well)
    shown.push(headers.Authorization)
    return shown.length < 2 ? json({ error: { code: 'token_expired' } }, 401) : json({ results: [{ t: 'ack', stamp: 's.1.1' }] })
  }
  let n = 0
  client = new Chappe(`http://publish${number++}`, { transports: ['sse'], nearest: false, token: () => `t${n++}` })
  const ack = client.publish('a', 1)
  await turn()
  await ack
  assert.deepEqual(shown, ['Bearer t0', 'Bearer t1'])
})

test('a signal that is aborted without a reason ends what waits', async () => {
  open('ws')
  const abort = new AbortController()
  const ack = client.publish('a', 1, { signal: abort.signal })
  const loop = client.channel('a', { signal: abort.signal })[Symbol.asyncIterator]().next()
  await w.pass(0)
  w.last.welcome()
  abort.abort(null)
  await assert.rejects(ack, { code: 'closed' })
  assert.equal((await loop).done, true)
})

test('a client that only publishes notices that its relay is gone, and goes to another', async () => {
  for (const kind of ['sse', 'poll']) {
    let gone = ''
    w.answer = (url) => {
      if (gone && url.startsWith(gone)) return
      return url.includes('/v1/probe') ? json(well) : json({ results: [{ stamp: 's.1.1' }] })
    }
    const [here, there] = [`http://publish${number++}`, `http://publish${number++}`]
    client = new Chappe([here, there], { transports: [kind], nearest: false })
    const told = []
    client.publish('a', 1).then((ack) => told.push(ack.stamp))
    await turn()
    assert.deepEqual([told, client.state.url], [['s.1.1'], here])
    gone = here
    client.publish('a', 2).then((ack) => told.push(ack.stamp))
    await turn(2000)
    assert.deepEqual([told.length, client.state.phase, client.state.url], [2, 'live', there])
    client.close()
  }
})

test('a relay that answers nothing any more is gone, too', async () => {
  w.answer = (url) => (url.includes('/v1/probe') ? json(well) : json({ results: [{ stamp: 's.1.1' }] }))
  open('sse')
  await Promise.all([client.publish('a', 1), turn()])
  w.answer = (_url, { signal }) => new Promise((_, no) => signal.addEventListener('abort', () => no(signal.reason)))
  await turn(1300) // 26 s: its next question after 15 s, and 10 s of patience
  assert.equal(client.state.phase === 'live', false)
})
