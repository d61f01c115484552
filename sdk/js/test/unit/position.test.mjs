import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Trail, before, cursorOf, positionOf, shard } from '../../build/position.js'

// As written by relay/position.
const three = 'AcDEgMHBxIIDAwECAwQFBgcIARERERERERERAKvN7xI0VniQwMQHANgC'
const leads = 'Ab-EtsHBxIIDAwECAwQFBgcIgMA1EREREREREREAq83vEjRWeJC_hD0CAOIBAg0ChxQ'
const one = 'AcDEgMHBxIIDAQECAwQFBgcIAQCScg'

test('shards of channels', () => {
  assert.deepEqual(['rides.42', 'a', 'z', 'chat.room_1-x', '$sys'].map(shard), [226, 237, 13, 187, 190])
})

test('cursors of the relay are read, and what is written says the same', () => {
  const ticks = (c) => [...positionOf(c).ticks.values()]
  assert.deepEqual(ticks(one), [1700000000123456])
  assert.deepEqual(ticks(three), [1700000000123456, Infinity, 1700000000000001])
  assert.deepEqual(ticks(leads), [1700000000123456, Infinity, 1700000000000001, 1700000000999999, 1700000000999998])
  for (const c of ['AQAAALh5', one, three, leads]) {
    assert.deepEqual(positionOf(cursorOf(positionOf(c))).ticks, positionOf(c).ticks)
  }
})

test('what is no cursor is refused', () => {
  for (const bad of ['', 'x', '!!!', one.slice(0, -1), one.replace('A', 'B'), `${one}AA`, btoa('\x03\0\0\0ab')]) {
    assert.throws(() => positionOf(bad), bad)
  }
})

test('a message moves a place, once', () => {
  const t = new Trail('a')
  t.begin(one)
  const stamp = (tick, seq) => `AQIDBAUGBwg.${tick}.${seq}`
  assert.equal(t.message('a', stamp(1700000000123456, 7)), undefined)
  assert.equal(t.message('a', stamp(1700000000123457, 8)), 0)
  assert.equal(t.message('a', stamp(1700000000123457, 8)), undefined)
  assert.equal(t.message('a', stamp(1700000000123460, 11)), 2)
  assert.equal(t.message('a', 'q83vEjRWeJA.5.1'), 0)
  const again = new Trail('a')
  again.begin(t.cursor())
  assert.equal(again.message('a', stamp(1700000000123460, 11)), undefined)
  assert.equal(again.message('a', 'q83vEjRWeJA.5.1'), undefined)
  assert.equal(again.message('a', stamp(1700000000123461, 12)), 0)
})

test('a pattern over shards moves one of them; progress moves all', () => {
  const t = new Trail('*.x')
  t.begin(one)
  assert.equal(t.message('a.x', 'AQIDBAUGBwg.1700000000123470.1'), 0)
  assert.equal(t.message('b.x', 'AQIDBAUGBwg.1700000000123460.1'), 0)
  assert.equal(t.message('a.x', 'AQIDBAUGBwg.1700000000123465.1'), undefined)
  t.progress(leads)
  const p = positionOf(t.cursor())
  assert.equal(p.ticks.get(`\x01\x02\x03\x04\x05\x06\x07\x08${String.fromCharCode(226)}`), 1700000000999999)
  assert.equal(t.covers('ERERERERERE', 10), true)
})

test('a place before several', () => {
  const trail = (tick) => {
    const t = new Trail('a')
    t.begin(one)
    t.message('a', `AQIDBAUGBwg.${tick}.1`)
    return t.cursor()
  }
  const [early, late] = [trail(1700000000123500), trail(1700000000123600)]
  assert.equal(before([early]), early)
  assert.deepEqual(positionOf(before([late, early])).ticks, positionOf(early).ticks)
  assert.deepEqual([...positionOf(before([one, three])).ticks.values()], [1700000000123456])
  assert.equal(before([]), '')
})

test('what is remembered of copies is small, however long the messages', () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc')
  const t = new Trail('a')
  t.begin(one)
  const copy = (n, origin = 'AQIDBAUGBwg') => JSON.parse(JSON.stringify({ channel: 'a', id: `id ${n}`, stamp: `${origin}.${n}.${n}`, data: 'x'.repeat(60_000) + n }))
  gc()
  const before = process.memoryUsage().heapUsed
  for (let n = 0; n < 1200; n++) assert.equal(t.again(copy(n)), false)
  gc()
  assert.ok(process.memoryUsage().heapUsed - before < 4_000_000)
  assert.equal(t.again(copy(1199, 'q83vEjRWeJA')), true)
  assert.equal(t.again({ ...copy(1199, 'q83vEjRWeJA'), data: 'another' }), false)
})

test('how many channels of a pattern are counted has a bound', () => {
  const t = new Trail('a.*')
  t.begin(one)
  for (let n = 1; n <= 5000; n++) t.message(`a.${n}`, `q83vEjRWeJA.${n}.${n}`, true)
  assert.equal(t.message('a.5000', 'q83vEjRWeJA.6000.5003', true), 2)
  assert.equal(t.message('a.1', 'q83vEjRWeJA.6001.9', true), 0) // forgotten
})

test('an origin that has ended is behind a place', () => {
  const t = new Trail('a')
  t.begin(three)
  assert.deepEqual([t.covers('ERERERERERE', 'end'), t.covers('AQIDBAUGBwg', 'end'), t.covers('AQIDBAUGBwg', undefined)], [true, false, false])
})
