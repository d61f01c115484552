import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Position, Trail, before, shard } from '../../build/position.js'

// As written by relay/position.
const three = 'AcDEgMHBxIIDAwECAwQFBgcIARERERERERERAKvN7xI0VniQwMQHANgC'
const leads = 'Ab-EtsHBxIIDAwECAwQFBgcIgMA1EREREREREREAq83vEjRWeJC_hD0CAOIBAg0ChxQ'
const one = 'AcDEgMHBxIIDAQECAwQFBgcIAQCScg'

test('shards of channels', () => {
  assert.deepEqual(['rides.42', 'a', 'z', 'chat.room_1-x', '$sys'].map(shard), [226, 237, 13, 187, 190])
})

test('cursors of the relay are read, and what is written says the same', () => {
  const ticks = (c) => [...Position.parse(c).ticks.values()]
  assert.deepEqual(ticks(one), [1700000000123456])
  assert.deepEqual(ticks(three), [1700000000123456, Infinity, 1700000000000001])
  assert.deepEqual(ticks(leads), [1700000000123456, Infinity, 1700000000000001, 1700000000999999, 1700000000999998])
  for (const c of ['AQAAALh5', one, three, leads]) {
    assert.deepEqual(Position.parse(Position.parse(c).cursor()).ticks, Position.parse(c).ticks)
  }
})

test('what is no cursor is refused', () => {
  for (const bad of ['', 'x', '!!!', one.slice(0, -1), one.replace('A', 'B'), `${one}AA`, btoa('\x03\0\0\0ab')]) {
    assert.throws(() => Position.parse(bad), bad)
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
  const p = Position.parse(t.cursor())
  assert.equal(p.done(`\x01\x02\x03\x04\x05\x06\x07\x08${String.fromCharCode(226)}`), 1700000000999999)
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
  assert.deepEqual(Position.parse(before([late, early])).ticks, Position.parse(early).ticks)
  assert.deepEqual([...Position.parse(before([one, three])).ticks.values()], [1700000000123456])
  assert.equal(before([]), '')
})
