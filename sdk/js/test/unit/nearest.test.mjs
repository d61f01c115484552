import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { nearest } from '../../build/better.js'
import { Chappe } from '../../build/index.js'
import { env } from '../../build/env.js'
import { json, newWorld, well } from './world.mjs'

let w
let asked
let nodes // by URL: ms of an answer, and more of the probe
beforeEach(() => {
  w = newWorld()
  asked = []
  nodes = {}
  w.answer = (url, { signal }) => {
    const { origin, pathname } = new URL(url)
    asked.push(`${origin} ${pathname}`)
    if (pathname.endsWith('chappe')) return json({ version: 1, regions: Object.keys(nodes).map((url) => ({ region: url, url })) })
    const { ms, ...more } = nodes[origin] ?? {}
    if (!ms) return undefined
    return new Promise((yes, no) => {
      env.after(ms, () => yes(json({ ...well, ...more })))
      signal.addEventListener('abort', () => no(signal.reason))
    })
  }
})
afterEach(() => w.end())

const find = async (here = 'https://a') => {
  const result = nearest(Object.keys(nodes), here)
  await w.pass(3000)
  return result
}

test('the nearest that answers, the best first; two requests each (CLIENTS §12)', async () => {
  nodes = { 'https://a': { ms: 50 }, 'https://b': { ms: 10 }, 'https://c': {}, 'https://d': { ms: 15 } }
  assert.deepEqual(await find(), ['https://b', 'https://d'])
  assert.equal(asked.filter((a) => a.includes('b ')).length, 2)
})

test('who needs twice the time of the best is not waited for', async () => {
  nodes = { 'https://a': { ms: 10 }, 'https://b': { ms: 19 }, 'https://c': { ms: 21 } }
  const began = w.at
  let done
  const result = nearest(Object.keys(nodes), 'https://a').then((r) => ((done = w.at - began), r))
  await w.pass(100)
  assert.deepEqual(await result, ['https://a', 'https://b'])
  assert.equal(done, 40)
})

test('the present one stays unless another is better by a fifth', async () => {
  nodes = { 'https://a': { ms: 100 }, 'https://b': { ms: 81 } }
  assert.deepEqual(await find(), ['https://a', 'https://b'])
  nodes = { 'https://a': { ms: 100 }, 'https://b': { ms: 79 } }
  assert.deepEqual(await find(), ['https://b', 'https://a'])
})

test('load counts, and who does not admit is out', async () => {
  nodes = { 'https://a': { ms: 20 }, 'https://b': { ms: 12, load: 0.7 }, 'https://c': { ms: 10, load: 0.9 }, 'https://d': { ms: 11, admit: false } }
  assert.deepEqual(await find('https://x'), ['https://b', 'https://a', 'https://c'])
})

test('who does not answer within 3 s is out, also where nobody answers', async () => {
  for (const url of ['https://a', 'https://b']) nodes[url] = { ms: 1e9 }
  let found
  nearest(Object.keys(nodes), 'https://a').then((r) => (found = r))
  await w.pass(2999)
  assert.equal(found, undefined)
  await w.pass(1)
  assert.deepEqual(found, [])
})

test('after a failover a client goes home when that is well again, not sooner than after a minute', async () => {
  const [home, far] = ['https://home', 'https://far']
  nodes = { [home]: { ms: 5 }, [far]: { ms: 100 } }
  const client = new Chappe(home, { transports: ['ws'] })
  client.channel('a').on('message', () => {})
  await w.pass(0)
  w.last.welcome({ reconnect_ms: 2, alternatives: [far] })
  await w.pass(1000)
  nodes[home] = {} // nobody answers there any more
  w.last.drop()
  await w.pass(100)
  w.last.drop() // the attempt at home
  await w.pass(1000)
  assert.equal(w.last.url, 'wss://far/v1/ws')
  w.last.welcome({ reconnect_ms: 2 })
  const there = w.sockets.length
  await w.pass(130_000) // the first search, in vain
  assert.equal(w.sockets.length, there)
  nodes[home] = { ms: 5, admit: false }
  await w.pass(250_000)
  assert.equal(w.sockets.length, there) // it answers, and admits nobody
  nodes[home] = { ms: 5 }
  for (const until = w.at + 800_000; w.sockets.length === there && w.at < until; ) await w.pass(1000)
  assert.equal(w.last.url, 'wss://home/v1/ws')
  assert.equal(client.state.url, far)
  w.last.welcome()
  await w.pass(0)
  assert.equal(client.state.url, home)
  client.close()
})

test('a client moves to the nearest without a pause, and a page begins there', async () => {
  const home = 'https://home'
  nodes = { [home]: { ms: 50 }, 'https://near': { ms: 5 }, 'http://clear': { ms: 1 } }
  const client = new Chappe(home, { transports: ['ws'] })
  const states = []
  client.on('state', (s) => states.push(`${s.phase} ${s.url ?? ''}`))
  client.channel('a').on('message', () => {})
  await w.pass(0)
  w.last.welcome()
  await w.pass(11_000)
  assert.equal(w.sockets.length, 2)
  assert.equal(w.last.url, 'wss://near/v1/ws')
  const [first, second] = w.sockets
  assert.equal(first.closed, undefined)
  const hello = second.welcome()
  await w.pass(0)
  assert.equal(hello.subs.length, 1)
  assert.ok(hello.subs[0].cursor)
  assert.equal(first.closed, 1000)
  assert.deepEqual(states, ['connecting https://home', 'live https://home', 'live https://near'])
  assert.ok(!asked.some((a) => a.startsWith('http://clear'))) // it would get our credentials in the clear
  client.close()
  const again = new Chappe(home, { transports: ['ws'] })
  void again.channel('a').subscribe()
  await w.pass(0)
  assert.equal(w.last.url, 'wss://near/v1/ws')
  again.close()
})
