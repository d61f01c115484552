// What comes on streams and by datagram over WebTransport (CLIENTS §9).
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { Chappe } from '../../build/index.js'
import { dialTransport } from '../../build/wt.js'
import { cursorOf, positionOf } from '../../build/position.js'
import { begin, json, msg, newWorld, tickOf, upTo, well } from './world.mjs'
import { fakeTransports, framed, turn } from './transport.mjs'

let w
let client
let all
let url
let number = 0
beforeEach(() => {
  w = newWorld()
  all = fakeTransports()
  url = `https://ways${number++}`
  w.stored.set(`chappe:${url}`, JSON.stringify({ hashes: [] }))
})
afterEach(() => {
  client?.close()
  w.end()
})
const open = async (name, o) => {
  client = new Chappe(url, { transports: ['wt'], nearest: false })
  const got = []
  const ch = client.channel(name, o).on('message', (m) => got.push(m.data)).on('gap', (g) => got.push(`${g.count} ${g.reason}`))
  await w.pass(0)
  await turn()
  return { ch, got, wt: all[0] }
}
/** A cursor behind message n, that knows the number of that message in its channel. */
const counted = (n, seq) => {
  const p = positionOf(upTo(n))
  p.seqs.set('\x01\x02\x03\x04\x05\x06\x07\x08', seq)
  return cursorOf(p)
}

test('lost datagrams are told, in the place where they would have been', async () => {
  const { got, wt } = await open('a')
  await wt.welcome({ via: 'datagram' })
  for (const n of [2, 3, 6, 7]) await wt.datagram(msg('a', n))
  assert.deepEqual(got, [2, 3, '2 lossy', 6, 7])
})

test('losses of a pattern are counted for each of its channels', async () => {
  const { got, wt } = await open('gps.*')
  await wt.welcome({ via: 'datagram' })
  const at = (channel, tick, seq) => ({ ...msg(channel, tick), stamp: `AQIDBAUGBwg.${tick}.${seq}`, data: `${channel} ${seq}` })
  for (const f of [at('gps.1', 2, 1), at('gps.2', 3, 40), at('gps.1', 4, 2), at('gps.2', 5, 43), at('gps.1', 6, 4)]) await wt.datagram(f)
  assert.deepEqual(got, ['gps.1 1', 'gps.2 40', 'gps.1 2', '2 lossy', 'gps.2 43', '1 lossy', 'gps.1 4'])
})

test('losses before the first datagram are told where the relay says which number was the last', async () => {
  const { got, wt } = await open('a')
  await wt.welcome({ via: 'datagram', cursor: counted(1, 1) })
  await wt.datagram(msg('a', 4))
  assert.deepEqual(got, ['2 lossy', 4])
})

test('of the node that grants it no number means that nothing was said there yet; of another it says nothing', async () => {
  const { got, wt } = await open('a')
  const [hello] = (await turn(), wt.sent)
  await wt.say({ t: 'welcome', version: 1, node: 'AQIDBAUGBwg' }, { t: 'subbed', ref: hello.subs[0].ref, channel: 'a', cursor: begin, via: 'datagram' })
  await wt.datagram({ ...msg('a', 5), stamp: 'AQIDBAUGBwg.5.3' })
  await wt.datagram({ ...msg('a', 6), stamp: 'q83vEjRWeJA.6.9' })
  await wt.datagram({ ...msg('a', 8), stamp: 'q83vEjRWeJA.8.11' })
  assert.deepEqual(got, ['2 lossy', 5, 6, '1 lossy', 8])
})

test('a datagram that overtakes its grant waits for it', async () => {
  const { got, wt } = await open('a')
  await turn()
  for (const n of [3, 4]) await wt.datagram(msg('a', n))
  assert.deepEqual(got, [])
  await wt.welcome({ via: 'datagram', cursor: counted(1, 1) })
  assert.deepEqual(got, ['1 lossy', 3, 4])
})

test('what the relay tells as a gap is not counted again', async () => {
  const { got, wt } = await open('a')
  await wt.welcome({ via: 'datagram' })
  await wt.datagram(msg('a', 2))
  await wt.say({ t: 'gap', channels: ['a'], count: 3, reason: 'slow' })
  await wt.datagram(msg('a', 6))
  await wt.say({ t: 'gap', channels: ['a'], count: 3, reason: 'slow', ranges: [{ origin: 'AQIDBAUGBwg', from: 7, to: 9, seq: 9 }] })
  await wt.datagram(msg('a', 11)) // and 10 is lost
  assert.deepEqual(got, [2, '3 slow', 6, '3 slow', '1 lossy', 11])
})

test('what fits in no datagram comes on the control stream; a newer pass changes nothing of that', async () => {
  const { got, wt } = await open('a')
  await wt.welcome({ via: 'datagram', pass: 'p1' })
  await wt.datagram(msg('a', 2))
  await wt.say({ t: 'subbed', channel: 'a', pass: 'p2' })
  await wt.say(msg('a', 3))
  await wt.datagram(msg('a', 6))
  assert.deepEqual(got, [2, 3, '2 lossy', 6])
})

/** Follows a channel on a stream of its own. */
const onStream = async (o) => {
  const s = await open('a', { via: 'stream', ...o })
  const { ref } = s.wt.sent[0].subs[0]
  await s.wt.say({ t: 'welcome', version: 1, session: 's', region: 'r' })
  const say = await s.wt.stream()
  await say({ t: 'subbed', ref, channel: 'a', cursor: begin, via: 'stream' })
  return { ...s, say }
}

test('a loop that pauses: what the old stream still brings is not taken for what the new one brings', async () => {
  client = new Chappe(url, { transports: ['wt'], nearest: false })
  const loop = client.channel('a', { via: 'stream', buffer: 4 }).events()
  const first = loop.next()
  await w.pass(0)
  await turn()
  const [wt] = all
  await wt.say({ t: 'welcome', version: 1 })
  const old = await wt.stream()
  await old({ t: 'subbed', ref: wt.sent[0].subs[0].ref, channel: 'a', cursor: begin, via: 'stream' })
  await old(msg('a', 2), msg('a', 3), msg('a', 4), msg('a', 5), msg('a', 6))
  const got = [(await first).value.data]
  while (got.length < 4) got.push((await loop.next()).value.data)
  await turn()
  const sub = wt.sent.findLast((f) => f.t === 'sub')
  await old(msg('a', 7), msg('a', 8)) // sent before the relay heard that it was left
  const fresh = await wt.stream()
  await fresh({ t: 'subbed', ref: sub.ref, channel: 'a', cursor: sub.cursor, via: 'stream' })
  await old(msg('a', 9))
  for (let n = tickOf(sub.cursor) + 1; n < 12; n++) await fresh(msg('a', n))
  while (got.length < 8) got.push((await loop.next()).value)
  assert.deepEqual(got.map((v) => v.data ?? v), [2, 3, 4, 5, 6, 7, 8, 9])
})

test('progress moves what comes on its stream: a quiet channel resumes there', async () => {
  const { wt, say } = await onStream()
  await wt.say({ t: 'progress', cursor: upTo(90) }) // of the control stream: not ours
  await say(msg('a', 2), { t: 'progress', cursor: upTo(50) })
  wt.end({ closeCode: 4001, reason: '' })
  await turn()
  await w.pass(60_000)
  await turn()
  assert.equal(tickOf(all[1].sent[0].subs[0].cursor), 50)
})

test('a stream that was not read ends, and the channel goes on where it is', async () => {
  const { ch, wt, say } = await onStream()
  await say(msg('a', 2))
  await wt.say({ t: 'unsubbed', channel: 'a', code: 'slow' })
  const sub = wt.sent.findLast((f) => f.t === 'sub')
  assert.equal(tickOf(sub.cursor), 2)
  const ended = new Promise((yes) => ch.once('error', yes))
  await wt.say({ t: 'unsubbed', channel: 'a', code: 'forbidden' })
  assert.equal((await ended).code, 'forbidden')
})

test('what the relay says last on the control stream is why it ends', async () => {
  for (const [told, then] of [
    [{ code: 'bad_token', text: 'no', terminal: true }, ['closed', 'bad_token', 'no']],
    [{ code: 'draining', retry_ms: 7000 }, ['waiting', 'draining', 7000]],
  ]) {
    const { wt } = await open('a')
    await turn()
    await wt.say({ t: 'err', ...told })
    wt.control.end()
    await turn()
    const { phase, error, until } = client.state
    assert.deepEqual([phase, error.code, until ? until - w.at : error.message.split(': ')[1]], then)
    assert.ok(wt.closed_) // the relay need not wait
    client.close()
    all.length = 0
  }
})

test('messages in whatever pieces they come, also long ones', async () => {
  const said = []
  let opened
  const up = new Promise((go) => (opened = go))
  const text = 'x'.repeat(300)
  dialTransport('https://pieces', { open: opened, text: (t) => said.push(JSON.parse(t).length), lost() {} })
  await up
  for (const b of framed([1, 2])) all[0].control.write(Uint8Array.of(b))
  await turn()
  const long = framed([text, text])
  all[0].control.write(long.subarray(0, 1))
  all[0].control.write(new Uint8Array([...long.subarray(1), ...framed([])]))
  await turn()
  assert.deepEqual(said, [2, 2, 0])
})

test('reading is linear: 32 MiB in pieces of 64 KiB take a moment', async () => {
  let opened
  let size = 0
  const up = new Promise((go) => (opened = go))
  const whole = new Promise((go) =>
    dialTransport('https://long', { open: opened, text: (t) => ((size = t.length), go()), lost() {} }),
  )
  await up
  const body = new Uint8Array(32 << 20).fill(97)
  const head = []
  let n = body.length
  for (; n > 127; n >>= 7) head.push((n & 127) | 128)
  all[0].control.write(new Uint8Array([...head, n]))
  const began = performance.now()
  for (let at = 0; at < body.length; at += 65536) all[0].control.write(body.subarray(at, at + 65536))
  await whole
  assert.equal(size, body.length)
  // One that copies all of it for each piece takes minutes.
  assert.ok(performance.now() - began < 10_000)
})

test('the hashes of a certificate that did not do are asked for anew', async () => {
  w.stored.set(`chappe:${url}`, JSON.stringify({ hashes: ['b2xk'] }))
  w.answer = () => json({ ...well, hashes: ['bmV3'] })
  const { wt } = await open('a')
  assert.equal(new TextDecoder().decode(wt.options.serverCertificateHashes[0].value), 'old')
  wt.end() // the handshake failed
  await turn()
  await w.pass(60_000)
  await turn()
  assert.equal(new TextDecoder().decode(all[1].options.serverCertificateHashes[0].value), 'new')
})

test('a relay that is asked in the clear says where it has WebTransport', async () => {
  url = url.replace('https', 'http')
  w.answer = () => json({ ...well, webtransport_url: 'https://there:1', hashes: ['aGVyZQ=='] })
  const { wt } = await open('a')
  assert.equal(wt.url, 'https://there:1/v1/wt')
  assert.equal(new TextDecoder().decode(wt.options.serverCertificateHashes[0].value), 'here')
})

test('given hashes are believed, and nobody is asked', async () => {
  w.stored.clear()
  client = new Chappe(url, { transports: ['wt'], nearest: false, hashes: ['Z2l2ZW4='] })
  client.channel('a').on('message', () => {})
  await w.pass(0)
  await turn()
  assert.equal(new TextDecoder().decode(all[0].options.serverCertificateHashes[0].value), 'given')
  assert.equal(w.requests.length, 0)
})
