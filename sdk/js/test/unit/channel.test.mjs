import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, test } from 'node:test'
import { Chappe, ChappeError } from '../../build/index.js'
import { cursorOf, lift } from '../../build/position.js'
import { begin, msg, newWorld, settle, tickOf, upTo } from './world.mjs'

let w
let client
let number = 0
beforeEach(async () => {
  w = newWorld()
  client = new Chappe(`http://channel${number++}`, { transports: ['ws'], nearest: false })
})
afterEach(() => {
  client.close()
  w.end()
})
const live = async () => {
  await w.pass(0)
  return w.last.welcome()
}
const sent = (t) => w.last.sent.filter((f) => f.t === t)

test('a loop takes messages in order; the cursor moves when one is taken', async () => {
  const ch = client.channel('a')
  const loop = ch[Symbol.asyncIterator]()
  const first = loop.next()
  await live()
  w.last.say(msg('a', 2), msg('a', 3), msg('a', 4))
  assert.equal((await first).value.data, 2)
  assert.equal(tickOf(ch.cursor), 2)
  assert.equal((await loop.next()).value.data, 3)
  assert.equal((await loop.next()).value.data, 4)
  assert.equal(tickOf(ch.cursor), 4)
})

test('leaving the loop leaves the channel; a later loop goes on there', async () => {
  const ch = client.channel('a')
  const done = (async () => {
    for await (const m of ch) if (m.data === 3) break
  })()
  await live()
  w.last.say(msg('a', 2), msg('a', 3), msg('a', 4))
  await done
  assert.deepEqual(sent('unsub').map((f) => f.channel), ['a'])
  const next = ch[Symbol.asyncIterator]().next()
  await settle()
  const sub = sent('sub').at(-1)
  assert.equal(tickOf(sub.cursor), 3)
  w.last.say({ t: 'unsubbed', channel: 'a' }, { t: 'subbed', ref: sub.ref, channel: 'a', cursor: sub.cursor }, msg('a', 3), msg('a', 4))
  assert.equal((await next).value.data, 4)
})

test('handlers get what a loop would, and gaps in their place', async () => {
  const all = []
  client.on('gap', (g) => all.push(`client ${g.reason}`))
  client
    .channel('a')
    .on('message', (m) => all.push(m.data))
    .on('gap', (g) => all.push(`${g.count} ${g.reason}`))
  await live()
  w.last.say(msg('a', 2), { t: 'gap', channels: ['a'], count: 3, reason: 'slow' }, msg('a', 6))
  assert.deepEqual(all, [2, '3 slow', 'client slow', 6])
})

test('what a handler throws is reported, and stops nothing', async () => {
  const thrown = []
  const before = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.once('unhandledRejection', (e) => thrown.push(e.message))
  const got = []
  client.channel('a').on('message', (m) => {
    got.push(m.data)
    if (m.data === 2) throw new Error('of the application')
  })
  await live()
  w.last.say(msg('a', 2), msg('a', 3))
  await new Promise(setImmediate)
  for (const f of before) process.on('unhandledRejection', f)
  assert.deepEqual(got, [2, 3])
  assert.deepEqual(thrown, ['of the application'])
})

test('what is asked for in one go is one flight', async () => {
  for (const name of ['a', 'b', 'c']) void client.channel(name).subscribe()
  void client.channel('a').subscribe() // shares
  const hello = await live()
  assert.deepEqual(hello.subs.map((s) => s.channel), ['a', 'b', 'c'])
  assert.equal(w.sockets.length, 1)
  assert.ok(!hello.token)
})

test('channels of one name share a subscription; each has its own place', async () => {
  const [x, y] = [[], []]
  client.channel('a').on('message', (m) => x.push(m.data))
  await live()
  w.last.say(msg('a', 2))
  const second = client.channel('a').on('message', (m) => y.push(m.data))
  await settle()
  assert.equal(sent('sub').length, 0)
  w.last.say(msg('a', 3))
  assert.deepEqual([x, y], [[2, 3], [3]])
  second.close()
  assert.equal(sent('unsub').length, 0)
  w.last.say(msg('a', 4))
  assert.deepEqual([x, y], [[2, 3, 4], [3]])
})

test('a loop that is slower than its channel leaves it for a while (CLIENTS §6)', async () => {
  const ch = client.channel('a', { buffer: 4 })
  const fast = []
  client.channel('b').on('message', (m) => fast.push(m.data))
  const loop = ch.events()
  const first = loop.next()
  await live()
  for (let n = 2; n < 7; n++) w.last.say(msg('a', n), msg('b', n))
  await settle()
  assert.equal((await first).value.data, 2)
  assert.deepEqual(sent('unsub').map((f) => f.channel), ['a'])
  w.last.say({ t: 'unsubbed', channel: 'a' }, msg('a', 7), msg('b', 7))
  for (const n of [3, 4]) assert.equal((await loop.next()).value.data, n)
  await settle()
  const sub = sent('sub').at(-1)
  assert.equal(tickOf(sub.cursor), 5) // what came until it was left is dropped, and comes again
  w.last.say({ t: 'subbed', ref: sub.ref, channel: 'a', cursor: sub.cursor, recovered: true }, msg('a', 6), msg('a', 7))
  for (const n of [5, 6, 7]) assert.equal((await loop.next()).value.data, n)
  assert.deepEqual(fast, [2, 3, 4, 5, 6, 7])
})

test('a signal ends a channel, and its loop throws the reason', async () => {
  const abort = new AbortController()
  const ch = client.channel('a', { signal: abort.signal })
  const next = ch[Symbol.asyncIterator]().next()
  await live()
  abort.abort(new Error('enough'))
  await assert.rejects(next, /enough/)
  assert.equal(sent('unsub').length, 1)
  assert.equal(client.state.phase, 'live')
})

test('a signal that was aborted before', async () => {
  const gone = AbortSignal.abort(new Error('before'))
  await assert.rejects(client.channel('a', { signal: gone }).subscribe(), /before/)
  await assert.rejects(client.publish('a', 1, { signal: gone }), /before/)
  const closed = new Chappe('http://x', { signal: gone })
  assert.equal(closed.state.phase, 'closed')
})

test('closing the client ends loops in peace, and what waits with an error', async () => {
  const ended = (async () => {
    for await (const _ of client.channel('a'));
    return 'in peace'
  })()
  await live()
  const waiting = client.publish('a', 1)
  await settle()
  client.close()
  assert.equal(await ended, 'in peace')
  await assert.rejects(waiting, (e) => e instanceof ChappeError && e.code === 'closed')
  assert.equal(w.last.closed, 1000)
  await assert.rejects(client.publish('a', 1), { code: 'closed' })
})

test('a refusal ends a channel, and its loop throws it; a new loop asks again', async () => {
  const ch = client.channel('a')
  const next = ch[Symbol.asyncIterator]().next()
  await w.pass(0)
  w.last.open()
  const { ref } = w.last.sent[0].subs[0]
  w.last.say({ t: 'welcome', version: 1 }, { t: 'err', ref, channel: 'a', code: 'forbidden', text: 'no grant' })
  await assert.rejects(next, { code: 'forbidden', message: 'forbidden: no grant' })
  void ch.subscribe()
  await settle()
  assert.equal(sent('sub').length, 1)
})

test('a subscription that is to be asked for again, is', async () => {
  const ch = client.channel('a')
  const granted = ch.subscribe()
  await w.pass(0)
  w.last.open()
  const { ref } = w.last.sent[0].subs[0]
  w.last.say({ t: 'welcome', version: 1 }, { t: 'err', ref, channel: 'a', code: 'plugin_failed', retry_ms: 700 })
  await w.pass(699)
  assert.equal(sent('sub').length, 0)
  await w.pass(1)
  const [sub] = sent('sub')
  w.last.say({ t: 'subbed', ref: sub.ref, channel: 'a', cursor: 'AQAAALh5' })
  await granted
})

test('publish waits for its answer across connections, and repeats its id', async () => {
  w.random = Math.random
  const ack = client.publish('a', { x: 1 }, { key: 'k', event: 'moved', ttl: 1.5 })
  await live()
  const [pub] = sent('pub')
  assert.deepEqual({ ...pub, id: 0, ref: 0 }, { t: 'pub', channel: 'a', data: { x: 1 }, key: 'k', event: 'moved', ttl_ms: 2, id: 0, ref: 0 })
  assert.ok(pub.id.length > 16 && pub.id.length <= 64)
  w.last.drop()
  await w.pass(1000)
  w.last.welcome()
  await settle()
  assert.equal(sent('pub')[0].id, pub.id)
  w.last.say({ t: 'ack', ref: sent('pub')[0].ref, stamp: 's.1.1', dup: true })
  assert.deepEqual(await ack, { stamp: 's.1.1', dup: true })
})

test('publish: overloaded is asked again, a refusal is the caller’s, an abort ends it', async () => {
  const first = client.publish('a', 1)
  await live()
  w.last.say({ t: 'err', ref: sent('pub')[0].ref, code: 'overloaded', retry_ms: 800 })
  await w.pass(799)
  assert.equal(sent('pub').length, 1)
  await w.pass(1)
  w.last.say({ t: 'err', ref: sent('pub')[1].ref, code: 'rate_limited', retry_ms: 50 })
  await assert.rejects(first, { code: 'rate_limited', retryMs: 50 })
  const abort = new AbortController()
  const second = client.publish('a', 1, { signal: abort.signal })
  await settle()
  abort.abort(new Error('no more'))
  await assert.rejects(second, /no more/)
})

test('rewind asks for the newest once; of a channel that runs it is a page of history', async () => {
  const got = []
  client.channel('a').rewind(2).on('message', (m) => got.push(m.data))
  const hello = await live()
  assert.equal(hello.subs[0].last, 2)
  w.last.say(msg('a', 2), msg('a', 3))
  assert.deepEqual(got, [2, 3])
  const late = []
  client.channel('a', { last: 2 }).on('message', (m) => late.push(m.data))
  await settle()
  const [ask] = sent('history')
  assert.equal(ask.last, 2)
  w.last.say({ t: 'history', ref: ask.ref, channel: 'a', messages: [msg('a', 2), msg('a', 3)], cursor: hello.subs[0].cursor ?? 'AQAAALh5' })
  await settle()
  assert.deepEqual(late, [2, 3])
  const sub = sent('sub').at(-1)
  w.last.say({ t: 'subbed', ref: sub.ref, channel: 'a', cursor: sub.cursor }, msg('a', 2), msg('a', 3), msg('a', 4))
  assert.deepEqual([got, late], [[2, 3, 4], [2, 3, 4]])
})

test('a cursor that is none is refused before anything is sent', async () => {
  await assert.rejects(client.channel('a', { cursor: 'no cursor' }).subscribe(), { code: 'bad_cursor' })
  await w.pass(0)
  assert.equal(w.sockets.length, 0)
})

test('presence: a list, and who comes and goes', async () => {
  const seen = []
  const ch = client.channel('a').on('presence', (p) => seen.push(`${p.action} ${p.members[0].user}`))
  const hello = await live()
  assert.equal(hello.subs[0].presence, true)
  const list = ch.presence()
  await settle()
  w.last.say({ t: 'presence', ref: sent('presence')[0].ref, channel: 'a', action: 'list', members: [{ session: 's', user: 'ann' }] })
  assert.deepEqual(await list, [{ session: 's', user: 'ann' }])
  w.last.say({ t: 'presence', channel: 'a', action: 'join', members: [{ session: 't', user: 'bob' }] })
  await settle()
  assert.deepEqual(seen, ['join bob'])
})

test('who listens to presence alone gets the messages when they are wanted', async () => {
  const ch = client.channel('a', { buffer: 4 }).on('presence', () => {})
  await live()
  for (let n = 2; n < 10; n++) w.last.say(msg('a', n))
  w.last.say({ t: 'progress', cursor: upTo(9) })
  assert.equal(sent('unsub').length, 0)
  const next = ch[Symbol.asyncIterator]().next()
  await settle()
  const sub = sent('sub').at(-1)
  assert.equal(tickOf(sub.cursor), 1)
  w.last.say({ t: 'subbed', ref: sub.ref, channel: 'a', cursor: sub.cursor, recovered: true }, msg('a', 2))
  assert.equal((await next).value.data, 2)
})

test('who asks for presence when the channel is live already gets it', async () => {
  const ch = client.channel('a').on('message', () => {})
  await live()
  const seen = []
  ch.on('presence', (p) => seen.push(p.members[0].user))
  await settle()
  assert.deepEqual(sent('unsub').map((f) => f.channel), ['a'])
  const sub = sent('sub').at(-1)
  assert.equal(sub.presence, true)
  assert.equal(tickOf(sub.cursor), 1)
  w.last.say({ t: 'unsubbed', channel: 'a' }, { t: 'subbed', ref: sub.ref, channel: 'a', cursor: sub.cursor })
  w.last.say({ t: 'presence', channel: 'a', action: 'join', members: [{ session: 't', user: 'bob' }] })
  assert.deepEqual(seen, ['bob'])
})

test('leaving a loop that waits ends it, and leaves the channel', async () => {
  const loop = client.channel('a')[Symbol.asyncIterator]()
  const waits = loop.next()
  await live()
  assert.deepEqual(await loop.return(), { value: undefined, done: true })
  assert.deepEqual(await waits, { value: undefined, done: true })
  assert.deepEqual(sent('unsub').map((f) => f.channel), ['a'])
  assert.equal((await loop.next()).done, true)
})

test('of two loops the last one to leave leaves the channel', async () => {
  const ch = client.channel('a')
  const [one, two] = [ch.events(), ch.events()]
  const next = one.next()
  await live()
  w.last.say(msg('a', 2), msg('a', 3))
  assert.equal((await next).value.data, 2)
  await one.return()
  assert.equal((await two.next()).value.data, 3)
  assert.equal(sent('unsub').length, 0)
  await two.return()
  assert.equal(sent('unsub').length, 1)
})

test('who listens to losses alone hears them', async () => {
  const gaps = []
  client.on('gap', (g) => gaps.push(`client ${g.count}`))
  const ch = client.channel('a').on('gap', (g) => gaps.push(g.count))
  await live()
  w.last.say(msg('a', 2), { t: 'gap', channels: ['a'], count: 3, reason: 'slow' })
  assert.deepEqual(gaps, [3, 'client 3'])
  const next = ch[Symbol.asyncIterator]().next()
  await settle()
  assert.equal(tickOf(sent('sub').at(-1).cursor), 1) // messages are for who takes them
  void next
})

test('once: the next event alone; what comes behind it waits for who takes it', async () => {
  const got = []
  const phases = []
  client.once('state', (s) => phases.push(s.phase))
  const ch = client.channel('a').once('message', (m) => got.push(m.data))
  await live()
  w.last.say(msg('a', 2), msg('a', 3), msg('a', 4))
  await settle()
  assert.deepEqual([got, phases], [[2], ['connecting']])
  assert.equal(tickOf(ch.cursor), 2)
  ch.once('message', (m) => got.push(m.data))
  assert.equal(tickOf(ch.cursor), 3)
  const never = () => got.push('never')
  ch.once('gap', never).off('gap', never)
  w.last.say({ t: 'gap', channels: ['a'], count: 3, reason: 'slow' })
  ch.on('message', (m) => got.push(m.data))
  assert.deepEqual(got, [2, 3, 4])
})

test('a refusal that nobody hears is written to the console, once', async () => {
  const lines = []
  client = new Chappe(`http://channel${number++}`, { transports: ['ws'], nearest: false, log: (text) => lines.push(text) })
  const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map((name) => client.channel(name))
  a.on('message', () => {})
  b.on('message', () => {}).on('error', () => {})
  const asked = c.subscribe().catch(() => {})
  const looped = d.events().next().catch(() => {})
  const stood = e.subscribe()
  await w.pass(0)
  w.last.open()
  const { subs } = w.last.sent[0]
  w.last.say({ t: 'welcome', version: 1 }, ...subs.map(({ ref, channel }) => (channel === 'e' ? { t: 'subbed', ref, channel, cursor: upTo(1) } : { t: 'err', ref, channel, code: 'forbidden', text: 'no grant' })))
  await Promise.all([asked, looped, stood])
  assert.deepEqual(lines, ['chappe: a: forbidden: no grant'])
  w.last.say({ t: 'unsubbed', channel: 'e', code: 'forbidden' })
  assert.deepEqual(lines.slice(1), ['chappe: e: forbidden'])
})

test('what the relay took away before a loop began is told by the loop, behind what had come', async () => {
  const ch = client.channel('a')
  const stood = ch.subscribe()
  await live()
  await stood
  w.last.say(msg('a', 2), { t: 'unsubbed', channel: 'a', code: 'forbidden' })
  const loop = ch.events()
  assert.equal((await loop.next()).value.data, 2)
  await assert.rejects(loop.next(), { code: 'forbidden' })
  void ch.subscribe()
  await settle()
  assert.equal(sent('sub').length, 1)
})

test('rewind of a channel that runs: the cursor is behind what was taken, not before it', async () => {
  client.channel('a').on('message', () => {})
  await live()
  w.last.say(msg('a', 2), msg('a', 3), msg('a', 4))
  const late = client.channel('a', { last: 3 })
  const loop = late[Symbol.asyncIterator]()
  const first = loop.next()
  await settle()
  const [ask] = sent('history')
  w.last.say({ t: 'history', ref: ask.ref, channel: 'a', messages: [msg('a', 2), msg('a', 3), msg('a', 4)], cursor: upTo(4) })
  assert.equal((await first).value.data, 2)
  assert.equal(late.cursor, '') // there is none before the end of the page
  await loop.next()
  await loop.next()
  assert.equal(tickOf(late.cursor), 4)
})

test('listeners of signals are taken away again', async () => {
  const { signal } = new AbortController()
  const listeners = () => getEventListeners(signal, 'abort').length
  for (let i = 0; i < 5; i++) client.channel(`c${i}`, { signal }).on('message', () => {}).close()
  const other = new Chappe('http://x', { signal })
  client.publish('a', 1, { signal }).catch(() => {})
  assert.equal(listeners(), 2)
  other.close()
  client.close()
  assert.equal(listeners(), 0)
})

test('a retry of a channel has a timer of its own, whatever it is called', async () => {
  client.channel('dead').on('message', () => {})
  await w.pass(0)
  w.last.open()
  const [{ ref }] = w.last.sent[0].subs
  w.last.say({ t: 'welcome', version: 1, ping_ms: 10_000, dead_ms: 15_000 }, { t: 'err', ref, channel: 'dead', code: 'plugin_failed', retry_ms: 60_000 })
  await w.pass(16_000)
  assert.notEqual(client.state.phase, 'live') // the relay was silent
})

test('a gap that says that an origin has ended comes once', async () => {
  const gaps = []
  client.channel('a').on('message', () => {}).on('gap', (g) => gaps.push(g.reason))
  await live()
  const lost = { t: 'gap', channels: ['a'], reason: 'origin_lost', ranges: [{ origin: 'AQIDBAUGBwg', to: 'end' }] }
  const over = { ticks: new Map(), seqs: new Map() }
  lift(over, '\x01\x02\x03\x04\x05\x06\x07\x08', Infinity)
  w.last.say(lost, { t: 'progress', cursor: cursorOf(over) })
  w.last.drop()
  await w.pass(1000)
  w.last.welcome()
  w.last.say(lost)
  assert.deepEqual(gaps, ['origin_lost'])
})

test('what does not fit into one message comes behind the welcome', async () => {
  client = new Chappe(`http://many${number++}`, { transports: ['ws'], nearest: false })
  for (let n = 0; n < 250; n++) client.channel(`c.${n}`, { cursor: begin }).on('message', () => {})
  await w.pass(0)
  const hello = w.last.welcome()
  assert.equal(hello.subs.length, 100)
  const subs = w.last.sent.slice(1)
  assert.deepEqual([...hello.subs, ...subs].map((s) => s.channel), Array.from({ length: 250 }, (_, n) => `c.${n}`))
  assert.ok(subs.every((s) => s.t === 'sub' && tickOf(s.cursor) === 1))
})

test('more channels than a URL can hold are the body of a POST', async () => {
  for (const kind of ['sse', 'poll']) {
    w.answer = () => new Promise(() => {})
    client = new Chappe(`http://many${number++}`, { transports: [kind], nearest: false })
    const names = Array.from({ length: 300 }, (_, n) => `${'n'.repeat(40)}.${n}`)
    for (const name of names) client.channel(name).on('message', () => {})
    await w.pass(0)
    const { url, method, body } = w.requests.at(-1)
    assert.deepEqual([new URL(url).search, method], ['', 'POST'])
    assert.deepEqual(body.getAll('channel'), names)
    client.close()
  }
})
