import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { Pacer, acceptable, baseOf } from '../../build/pace.js'
import { newWorld } from './world.mjs'

let w
beforeEach(() => (w = newWorld()))
afterEach(() => w.end())

const lost = { error: new Error('lost') }
const [a, b, c] = ['https://a', 'https://b', 'https://c']

test('full jitter, doubling to 30 s, until a connection has lived for 10 s (CLIENTS §4)', () => {
  const p = new Pacer([a])
  assert.deepEqual(Array.from({ length: 9 }, () => p.next(lost, 0)), [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000])
  assert.equal(p.next(lost, 9_999), 15000)
  assert.equal(p.next(lost, 10_000), 250)
})

test('the window spreads the first return; the backoff only where it is longer', () => {
  const p = new Pacer([a])
  p.welcomed(a, 4000)
  assert.equal(p.next(lost, 40_000), 2000)
  assert.equal(p.next(lost, 0), 500)
  for (let i = 0; i < 6; i++) p.next(lost, 0)
  p.welcomed(a, 4000)
  assert.equal(p.next(lost, 500), 15000)
})

test('told delays are taken as they are', () => {
  const p = new Pacer([a])
  p.welcomed(a, 60_000)
  assert.equal(p.next({ ...lost, delay: 700 }, 5000), 700)
})

test('a drain that was obeyed is followed at once, elsewhere; a short one counts as lost', () => {
  const p = new Pacer([a, b])
  p.welcomed(a, 0)
  assert.equal(p.next({ ...lost, moved: ['ftp://x', c] }, 5000), 0)
  assert.equal(p.target, c)
  p.welcomed(c, 1000)
  assert.equal(p.next({ ...lost, moved: [a] }, 900), 500)
  assert.equal(p.target, c)
})

test('round and round: the relay that was live, what it told, what is configured', () => {
  const p = new Pacer([a, b])
  p.welcomed(b, 0, [c])
  const seen = []
  for (let i = 0; i < 4; i++) {
    seen.push(p.target)
    p.next(lost, i ? 0 : 5000) // the first was live
  }
  assert.deepEqual(seen, [b, b, c, a])
  p.next({ ...lost, auth: true }, 0)
  assert.equal(p.target, b) // a refusal of credentials does not move
})

test('told URLs get credentials only where they are as safe', () => {
  assert.deepEqual(acceptable(a, ['http://x', 'https://y/', 'ftp://z', 'nonsense', 'wss://w/p/']), ['https://y', 'https://w/p'])
  assert.deepEqual(acceptable('http://a', ['http://x']), ['http://x'])
  assert.equal(baseOf('ws://a:1/x//'), 'http://a:1/x')
  assert.throws(() => baseOf('mailto:a@b'))
})

test('a round asks each relay once, and only then the waits grow; a drain without alternatives moves on', () => {
  const p = new Pacer(['http://a', 'http://b', 'http://c'])
  p.welcomed('http://b', 1000)
  const seen = []
  for (let i = 0; i < 7; i++) seen.push([p.next(lost, 0), p.target])
  assert.deepEqual(seen, [
    [250, 'http://a'], [250, 'http://c'], [250, 'http://b'],
    [500, 'http://a'], [500, 'http://c'], [500, 'http://b'],
    [1000, 'http://a'],
  ])
  p.welcomed('http://b', 1000)
  assert.equal(p.next({ moved: [] }, 60_000), 0)
  assert.equal(p.target, 'http://a')
})

test('a relay has less time where there is another, least of all one that fell silent', () => {
  const silent = { error: new Error('no answer'), silent: true }
  assert.deepEqual([undefined, lost, silent].map((loss) => new Pacer([a, b]).patience(loss)), [4000, 4000, 2000])
  assert.deepEqual([undefined, lost, silent].map((loss) => new Pacer([a]).patience(loss)), [10_000, 10_000, 10_000])
})
