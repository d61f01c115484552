import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lossBy, lossOfAnswer } from '../../build/loss.js'
import { eventReader } from '../../build/events.js'
import { enclose, parse, patternOf } from '../../build/wire.js'
import { messageOf } from '../../build/event.js'

test('an event stream, in whatever pieces it comes', () => {
  const text = ': hello\nretry: 1500\n\nid: c1\ndata: {"a":1}\n\nevent: gap\ndata: one two\n\nid: c2\n\ndata: cut'
  const all = []
  eventReader((...said) => all.push(said))(text)
  assert.deepEqual(all, [[undefined, undefined, 1500], ['{"a":1}', 'c1', 1500], ['one two', 'c1', 1500], [undefined, 'c2', 1500]])
  const pieces = []
  const read = eventReader((...said) => pieces.push(said))
  for (const c of text) read(c)
  assert.deepEqual(pieces, all)
})

test('whatever a message holds comes through an event stream', () => {
  for (const text of ['a\u2028b', 'a\u2029b', '\u0085', '\u{1f600}', ': x', '\ufeff']) {
    const got = []
    eventReader((data, id) => got.push([JSON.parse(data).data, id]))(`id: c\ndata: {"data":"${text}"}\n\n`)
    assert.deepEqual(got, [[text, 'c']])
  }
})

test('what a close code means (CLIENTS §3)', () => {
  const kind = (code, reason, last) => {
    const { auth, terminal } = lossBy(code, { ...reason, ...last })
    return auth ? 'auth' : terminal ? 'terminal' : 'lost'
  }
  for (const code of [1000, 1002, 1007, 1008, 1009, 4500, 4501, 4999]) assert.equal(kind(code), 'terminal', code)
  for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 4000, 4001, 4399]) assert.equal(kind(code), 'lost', code)
  for (const code of [4400, 4402, 4499]) assert.equal(kind(code), 'auth', code)
  assert.equal(lossBy(1013, { code: 'overloaded', retry_ms: 700 }).delay, 700)
  assert.equal(lossBy(1013, parse('not json')).delay, 0)
  assert.equal(lossBy(1013, { retry_ms: 99_999_999 }).delay, 600_000)
  const told = lossBy(4503, { t: 'err', code: 'revoked', text: 'at length' })
  assert.equal(told.error.code, 'revoked')
  assert.equal(told.error.message, 'revoked: at length')
})

test('what an HTTP answer means', async () => {
  const of = (status, code, headers) => lossOfAnswer(new Response(code ? JSON.stringify({ error: { code, text: 'x' } }) : '<html>', { status, headers }))
  assert.equal((await of(403, 'forbidden')).terminal, true)
  assert.equal((await of(403)).terminal, false) // of something on the way
  assert.equal((await of(403)).mute, true)
  assert.equal((await of(401)).auth, true)
  assert.equal((await of(401, 'token_expired')).terminal, false)
  for (const status of [408, 409, 425, 429, 503]) assert.ok(!(await of(status, 'rate_limited')).terminal, status)
  assert.equal((await of(503, 'overloaded', { 'Retry-After': '2' })).delay, 2000)
})

test('payloads (PROTOCOL §4.2)', () => {
  const there = (v) => messageOf({ t: 'msg', channel: 'a', stamp: 'x.1.1', ...JSON.parse(JSON.stringify(enclose(v))) }).data
  for (const v of [1, 'text', { a: [1, null] }, null, false]) assert.deepEqual(there(v), v)
  assert.deepEqual(there(new Uint8Array([0, 255, 7])), new Uint8Array([0, 255, 7]))
  assert.deepEqual(there(new Uint16Array([258]).buffer), new Uint8Array([2, 1]))
  assert.equal(there(new Uint8Array()), undefined)
  assert.equal(messageOf({ t: 'msg', channel: 'a', stamp: 'x.1700000000123456.1', data: 'hi', enc: 'text' }).data, 'hi')
  assert.equal(messageOf({ t: 'msg', channel: 'a', stamp: 'x.1700000000123456.1' }).time.getTime(), 1700000000123)
})

test('patterns (PROTOCOL §2)', () => {
  const match = (p, c) => patternOf(p).test(c)
  assert.deepEqual([match('rides.*', 'rides.42'), match('rides.*', 'rides'), match('rides.*', 'rides.42.at')], [true, false, false])
  assert.deepEqual([match('rides.>', 'rides.42'), match('rides.>', 'rides.42.at'), match('rides.>', 'rides')], [true, true, false])
  assert.equal(match('a.*.c', 'a.b.c'), true)
  assert.equal(match('aXb', 'a.b'), false)
})
