// Tabs that share a connection, and those that must not (CLIENTS §10).
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { Chappe } from '../../build/index.js'
import { env } from '../../build/env.js'
import { msg, newWorld, settle } from './world.mjs'

let w
let clients
let number = 0
let url
let locks // of the browser
let first // of the tabs
let deaf
beforeEach(() => {
  w = newWorld()
  clients = []
  url = `http://tabs${number++}`
  locks = lockManager()
  // In order and in virtual time: the tests' own.
  const tabs = new Set()
  first = deaf = undefined
  env.BroadcastChannel = class {
    constructor(name) {
      Object.assign(this, { name })
      tabs.add(this)
      first ??= this
    }
    postMessage(data) {
      for (const t of tabs) if (t !== this && t.name === this.name && t !== deaf) queueMicrotask(() => t.onmessage?.({ data }))
    }
    close() {
      tabs.delete(this)
    }
  }
  env.locks = locks
})
afterEach(() => {
  for (const c of clients) c.close()
  w.end()
})

/** Web Locks, as far as they are used. */
function lockManager() {
  const held = new Map() // name: what to reject when it is stolen
  const queues = new Map()
  const grant = (name, { f, yes, no }) => {
    const lost = new Promise((_, stolen) => held.set(name, stolen))
    const done = () => {
      held.delete(name)
      const next = queues.get(name)?.shift()
      if (next) grant(name, next)
    }
    Promise.race([f({ name }), lost]).then((v) => (done(), yes(v)), (e) => no(e))
  }
  return {
    names: held,
    request: (name, o, f) =>
      new Promise((yes, no) => {
        if (o.steal) held.get(name)?.(new DOMException('stolen', 'AbortError'))
        if (o.steal || !held.has(name)) return grant(name, { f, yes, no })
        if (o.ifAvailable) return yes(f(null))
        const waiting = { f, yes, no }
        queues.set(name, [...(queues.get(name) ?? []), waiting])
        o.signal?.addEventListener('abort', () => {
          queues.set(name, queues.get(name).filter((q) => q !== waiting))
          no(new DOMException('aborted', 'AbortError'))
        })
      }),
  }
}

const jwt = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
const tab = async (o) => {
  const client = new Chappe(url, { transports: ['ws'], nearest: false, ...o })
  clients.push(client)
  const got = []
  client.channel('a').on('message', (m) => got.push(m.data))
  const before = w.sockets.length
  await until(() => w.sockets.length > before || client.state.transport || client.state.error)
  return { client, got }
}

/** Hashing takes time that is not virtual. */
const until = async (met, ms = 0) => {
  while (!met()) {
    await w.pass(ms)
    await new Promise(setImmediate)
  }
  await w.pass(0)
}

test('tabs of one user have one connection; when the one that leads is closed another goes on', async () => {
  const one = await tab({ token: () => jwt({ sub: 'ann', iat: 1 }) })
  w.last.welcome()
  const two = await tab({ token: () => jwt({ sub: 'ann', iat: 2 }) })
  assert.deepEqual([w.sockets.length, one.client.state.transport, two.client.state.transport], [1, 'ws', 'tab'])
  w.last.say(msg('a', 2))
  await settle()
  assert.deepEqual([one.got, two.got], [[2], [2]])
  one.client.close()
  await w.pass(10)
  assert.equal(w.sockets.length, 2)
  w.last.welcome()
  w.last.say(msg('a', 2), msg('a', 3))
  await settle()
  assert.deepEqual(two.got, [2, 3])
})

test('two users do not share, nor do those of whom nobody can tell', async () => {
  for (const token of [() => jwt({ sub: 'ann' }), () => jwt({ sub: 'bob' }), () => 'key', () => 'key', undefined]) {
    await tab({ token })
    w.last.welcome()
  }
  assert.equal(w.sockets.length, 5)
  await tab({}) // nobody in particular, again
  assert.equal(w.sockets.length, 5)
})

test('a name is shared by all that give it, and by no other', async () => {
  await tab({ token: () => 'key', share: 'ann' })
  w.last.welcome()
  await tab({ token: () => 'other', share: 'ann' })
  assert.equal(w.sockets.length, 1)
  await tab({ token: () => 'key', share: 'bob' })
  assert.equal(w.sockets.length, 2)
})

test('where locks are refused, as in a sandboxed frame, a client goes alone', async () => {
  let asked = 0
  env.locks = { request: async () => (asked++, Promise.reject(new DOMException('opaque origin', 'SecurityError'))) }
  const { client } = await tab({})
  w.last.welcome()
  await w.pass(0)
  assert.deepEqual([client.state.phase, client.state.transport], ['live', 'ws'])
  assert.ok(asked < 5, `${asked} requests of locks`)
})

test('no token at the start: it is asked for again, and then they share', async () => {
  let fails = 1
  const token = () => {
    if (fails--) throw new Error('no')
    fails = 0
    return jwt({ sub: 'ann' })
  }
  const { client } = await tab({ token })
  assert.equal(client.state.phase, 'waiting')
  await until(() => w.sockets.length, 100)
  w.last.welcome()
  await tab({ token: () => jwt({ sub: 'ann' }) })
  assert.equal(w.sockets.length, 1)
})

test('a tab that does not answer is deposed, and follows when it is back; the region stays', async () => {
  url = [url, 'http://other']
  const one = await tab({})
  w.last.welcome()
  const two = await tab({})
  deaf = first
  one.client.once('state', () => (deaf = undefined)) // it runs again, and hears that it was deposed
  for (let ms = 0; w.sockets.length < 2 && ms < 20_000; ms += 100) await w.pass(100)
  w.last.welcome()
  await w.pass(5000)
  assert.deepEqual([one.client.state.transport, two.client.state.transport], ['tab', 'ws'])
  assert.deepEqual(w.sockets.map((s) => s.url), Array(2).fill(w.sockets[0].url))
  w.last.say(msg('a', 2))
  await settle()
  assert.deepEqual([one.got, two.got], [[2], [2]])
})

test('a tab that opens while the one that leads is frozen goes to the same region', async () => {
  const [near, far] = [`http://near${number}`, `http://far${number}`]
  url = [near, far]
  await tab({})
  w.last.welcome()
  await w.pass(100)
  deaf = first
  const client = new Chappe(url, { transports: ['ws'], nearest: false })
  clients.push(client)
  client.channel('a').on('message', () => {})
  for (let ms = 0; w.sockets.length < 2 && ms < 20_000; ms += 100) await w.pass(100)
  assert.match(w.last.url, new RegExp(near.slice(4)))
})
