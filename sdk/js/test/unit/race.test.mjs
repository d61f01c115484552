import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { Chappe } from '../../build/index.js'
import { env } from '../../build/env.js'
import { json, newWorld, well } from './world.mjs'

let w
let number = 0
let url
let client
let tried // transports, in order, and when
beforeEach(() => {
  w = newWorld()
  url = `https://relay${number++}` // what is remembered is of a URL
  tried = []
  env.WebTransport = class {
    constructor() {
      tried.push(['wt', w.at - 1e12])
      this.closed = new Promise(() => {})
      this.ready = new Promise(() => {}) // packets vanish
    }
    close() {}
  }
  const Socket = env.WebSocket
  env.WebSocket = function (...a) {
    tried.push(['ws', w.at - 1e12])
    return new Socket(...a)
  }
  w.answer = (u, o) => {
    const kind = /\/v1\/(sse|poll|probe)/.exec(u)[1]
    tried.push([kind, w.at - 1e12])
    return kind === 'probe' ? json(w.well ?? well) : new Promise((_, no) => o.signal.addEventListener('abort', () => no(o.signal.reason)))
  }
})
afterEach(() => {
  client.close()
  w.end()
})
const begin = (o) => {
  client = new Chappe(url, { nearest: false, ...o })
  client.channel('a').on('message', () => {})
}
const know = (e) => w.stored.set(`chappe:${url}`, JSON.stringify({ hashes: [], ...e }))

test('the first connection races with head starts (CLIENTS §9)', async () => {
  begin()
  await w.pass(3000)
  assert.deepEqual(tried, [['ws', 0], ['sse', 1000], ['poll', 2000]])
})

test('WebTransport is in the race where UDP worked, and has 250 ms', async () => {
  know({ udp: w.at + 1 })
  begin()
  await w.pass(3000)
  assert.deepEqual(tried, [['wt', 0], ['ws', 250], ['sse', 1250], ['poll', 2250]])
})

test('what is known to do begins; a memory that is too old is none', async () => {
  know({ transport: 'sse', udp: w.at - 1 })
  begin()
  await w.pass(1500)
  assert.deepEqual(tried, [['sse', 0], ['ws', 1000]])
})

test('one that fails without a word makes way at once; the first welcome wins', async () => {
  begin()
  await w.pass(100)
  w.last.drop()
  await w.pass(400)
  assert.deepEqual(tried, [['ws', 0], ['sse', 100]])
  client.close()
  begin()
  await w.pass(1200)
  w.last.welcome()
  await w.pass(1)
  assert.equal(client.state.transport, 'ws')
  const at = tried.length
  await w.pass(5000)
  assert.equal(tried.length, at)
  assert.equal(w.requests.at(-1).signal.aborted, true)
})

test('a refusal on one transport is one on all', async () => {
  begin()
  await w.pass(100)
  w.last.drop(1013, { code: 'overloaded', retry_ms: 5000 })
  await w.pass(4000)
  assert.deepEqual(tried, [['ws', 0]])
  assert.equal(client.state.phase, 'waiting')
})

const lose = async (code, reason) => {
  begin()
  await w.pass(0)
  w.last.welcome({ reconnect_ms: 2 })
  await w.pass(2000)
  tried.length = 0
  w.last.drop(code, reason)
  await w.pass(1)
}

test('later ones do not race: the next is tried when the last one is stuck and the relay is well', async () => {
  await lose()
  const began = tried[0][1]
  await w.pass(4500)
  assert.deepEqual(tried.map(([k, at]) => [k, at - began]), [['ws', 0], ['probe', 2000], ['sse', 2000], ['probe', 4000], ['poll', 4000]])
})

test('after advice of the relay patience is longer', async () => {
  await lose(1013, { retry_ms: 100 })
  await w.pass(100)
  const began = tried[0][1]
  await w.pass(5100)
  assert.deepEqual(tried.map(([k, at]) => [k, at - began]), [['ws', 0], ['probe', 5000], ['sse', 5000]])
})

test('in an outage nothing else is tried', async () => {
  await lose()
  w.answer = (u) => void tried.push([/probe/.test(u) ? 'probe' : u, 0])
  w.last.drop()
  await w.pass(1)
  assert.deepEqual(tried.map(([k]) => k), ['ws', 'probe'])
  assert.equal(client.state.phase, 'waiting')
})

test('a relay that admits nobody is believed, and not tried in another way', async () => {
  await lose()
  w.well = { ...well, admit: false, retry_ms: 9000 }
  w.last.drop()
  await w.pass(1)
  assert.deepEqual(tried.map(([k]) => k), ['ws', 'probe'])
  assert.equal(client.state.until.getTime(), w.at - 1 + 9000)
})

test('a relay under load is not raced', async () => {
  await lose()
  w.well = { ...well, load: 0.9 }
  await w.pass(5000)
  assert.ok(!tried.some(([k]) => k === 'sse' || k === 'poll'), tried)
})

test('a link that fails while the relay is asked how it is: one other is tried, not two', async () => {
  await lose()
  let answer
  w.answer = (u, o) => {
    tried.push([/\/v1\/(sse|poll|probe)/.exec(u)[1], 0])
    if (/probe/.test(u)) return new Promise((yes) => (answer = () => yes(json(well))))
    return new Promise((_, no) => o.signal.addEventListener('abort', () => no(o.signal.reason)))
  }
  await w.pass(2000)
  w.last.drop()
  await w.pass(0)
  answer()
  await w.pass(0)
  assert.deepEqual(tried.map(([k]) => k), ['ws', 'probe', 'sse'])
})

test('a relay that is gone without a word costs 5 s where there is another: 4 s for a transport, or 2 s and 3 s for the question whether it lives', async () => {
  client = new Chappe([url, 'https://other'], { transports: ['ws', 'sse', 'poll'], nearest: false })
  client.channel('a').on('message', () => {})
  await w.pass(0)
  w.last.welcome({ reconnect_ms: 2 })
  await w.pass(2000)
  // Nothing comes back, of nobody; a question has 3 s.
  w.answer = (u, o) =>
    new Promise((_, no) => {
      const late = () => no(new Error('no answer'))
      if (/probe/.test(u)) env.after(3000, late)
      o.signal.addEventListener('abort', late)
    })
  const at = w.at
  const open = w.sockets.length
  w.last.drop()
  while (w.sockets.length < open + 2 && w.at < at + 60_000) await w.pass(10)
  assert.match(w.last.url, /other/)
  assert.ok(w.at - at < 5000 + 1000, `${w.at - at} ms`)
})

test('the first connection to such a one: no transport has longer than 4 s', async () => {
  client = new Chappe([url, 'https://other'], { transports: ['ws', 'sse', 'poll'], nearest: false })
  client.channel('a').on('message', () => {})
  await w.pass(6001) // polling begins after 2 s
  assert.equal(client.state.phase, 'waiting')
  await w.pass(500)
  assert.match(w.last.url, /other/)
})

test('published first, subscribed while the relay is asked: it is followed', async () => {
  const asked = []
  w.answer = (u, o) => {
    if (/probe/.test(u)) return new Promise((yes) => env.after(50, () => yes(json(well)))) // the abort is not heard
    if (/messages/.test(u)) return json({ results: [{ t: 'ack', stamp: 's.1.1' }] })
    asked.push(new URL(u).searchParams.get('channel'))
    return new Promise((_, no) => o.signal.addEventListener('abort', () => no(o.signal.reason)))
  }
  client = new Chappe(url, { transports: ['sse'], nearest: false })
  client.publish('a', 1).catch(() => {})
  await w.pass(20)
  client.channel('b').on('message', () => {})
  await w.pass(1000)
  assert.deepEqual(asked, ['b'])
})

test('no transport at all is an end', async () => {
  env.WebSocket = undefined
  begin({ transports: ['ws'] })
  await w.pass(0)
  assert.equal(client.state.phase, 'closed')
  assert.equal(client.state.error.code, 'unsupported')
})

test('a better transport joins late, and only where the relay is well', async () => {
  know({ transport: 'sse', hashes: [] })
  w.answer = (u) => (/probe/.test(u) ? json(w.well ?? well) : json({ regions: [] }))
  begin({ transports: ['ws', 'sse'] })
  await w.pass(1000) // a stream that is none; then the socket
  client.close()
  tried.length = 0
  know({ transport: 'poll' })
  w.answer = (u) => {
    if (/probe/.test(u)) return json(w.well ?? well)
    return json({ session: 'p', frames: [{ t: 'welcome', version: 1, session: 'p' }, { t: 'subbed', channel: 'a', cursor: 'AQAAALh5' }], cursor: 'AQAAALh5', retry_ms: 600_000 })
  }
  url += 'x'
  know({ transport: 'poll' })
  w.well = { ...well, load: 0.9 }
  begin({ transports: ['ws', 'poll'] })
  await w.pass(0)
  assert.equal(client.state.transport, 'poll')
  await w.pass(10_000)
  assert.deepEqual(tried, []) // under load: not now
  w.well = well
  await w.pass(20_000)
  assert.equal(tried.length, 1)
  w.last.welcome()
  await w.pass(0)
  assert.equal(client.state.transport, 'ws')
})
