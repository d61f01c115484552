// Tabs of one origin share a connection.
import assert from 'node:assert/strict'
import { startRelay, token } from '../relay.mjs'
import { after, before, live, open, openStage, received, test } from './stage.mjs'

const secret = 'of the tests'
let stage, relay
before(async () => {
  relay = await startRelay({ tls: true, env: { CHAPPE_DEV_SECRET: secret } })
  stage = await openStage()
})
after(async () => {
  await stage?.close()
  await relay?.stop()
})

/** Publishes 0, 1, 2… until it is stopped; resolves with how many. */
function publish(channel) {
  let ended = false
  const done = (async () => {
    let n = 0
    for (; !ended; n++) {
      await relay.publish(channel, n)
      await new Promise((go) => setTimeout(go, 20))
    }
    return n
  })()
  return () => ((ended = true), done)
}

const upTo = (n) => Array.from({ length: n }, (_, i) => i)
const transports = ['ws', 'sse', 'poll']

test('three tabs have one connection', async () => {
  const before = await relay.sessions()
  const context = await stage.context()
  const tabs = []
  for (let i = 0; i < 3; i++) {
    tabs.push(await stage.page(context))
    await open(tabs[i], relay.url, { transports }, 'tabs.one')
  }
  assert.equal(await live(tabs[0]), 'ws')
  assert.equal(await live(tabs[1]), 'tab')
  assert.equal(await live(tabs[2]), 'tab')
  for (const tab of tabs) await tab.evaluate(() => ch.subscribe())
  assert.equal((await relay.sessions()) - before, 1)
  for (let n = 0; n < 5; n++) await relay.publish('tabs.one', n)
  for (const tab of tabs) assert.deepEqual(await received(tab, 5), upTo(5))
  // Requests go the same way.
  const { stamp } = await tabs[1].evaluate(() => ch.publish('from a tab'))
  assert.match(stamp, /\.\d+\.\d+$/)
  const page = await tabs[2].evaluate(() => ch.history({ last: 2 }))
  assert.deepEqual(page.messages.map((m) => m.data), [4, 'from a tab'])
  // A refusal in one tab is that tab's.
  const refused = await tabs[1].evaluate(() => client.channel('no..name').subscribe().catch((e) => e.code))
  assert.equal(refused, 'bad_channel')
  await context.close()
})

test('the tab that leads is closed: another goes on, nothing is lost or repeated', async () => {
  const context = await stage.context()
  const tabs = []
  for (let i = 0; i < 3; i++) {
    tabs.push(await stage.page(context))
    await open(tabs[i], relay.url, { transports }, 'tabs.closed')
    await tabs[i].evaluate(() => ch.subscribe())
  }
  const stop = publish('tabs.closed')
  await received(tabs[2], 10)
  await tabs[0].close()
  const closed = Date.now()
  await tabs[1].waitForFunction(() => client.state.transport === 'ws' || client.state.transport === 'tab')
  const had = (await received(tabs[1], 1)).length
  await received(tabs[1], had + 1)
  await received(tabs[2], had + 1)
  console.log(`tabs: after the leading one was closed the next message came within ${Date.now() - closed} ms`)
  await tabs[1].waitForFunction(() => got.length > 40)
  await tabs[1].close()
  await received(tabs[2], 80)
  const n = await stop()
  assert.deepEqual(await received(tabs[2], n), upTo(n))
  assert.deepEqual(await tabs[2].evaluate(() => gaps), [])
  assert.equal(await live(tabs[2]), 'ws')
  await context.close()
})

test('the tab that leads hangs: another takes the lead, nothing is lost or repeated', async () => {
  const context = await stage.context()
  const [a, b] = [await stage.page(context), await stage.page(context)]
  for (const tab of [a, b]) {
    await open(tab, relay.url, { transports }, 'tabs.hung')
    await tab.evaluate(() => ch.subscribe())
  }
  const stop = publish('tabs.hung')
  await received(b, 10)
  const hang = a.evaluate(() => {
    for (const until = performance.now() + 14_000; performance.now() < until; );
  })
  const began = Date.now()
  assert.equal(await live(b, 'ws'), 'ws')
  console.log(`tabs: a hung one was replaced after ${Date.now() - began} ms`)
  await hang
  assert.equal(await live(a, 'tab'), 'tab')
  await a.evaluate(() => ch.subscribe())
  const had = (await received(a, 1)).length
  await received(a, had + 10)
  const n = await stop()
  for (const tab of [a, b]) {
    assert.deepEqual(await received(tab, n), upTo(n))
    assert.deepEqual(await tab.evaluate(() => gaps), [])
  }
  await context.close()
})

/** A tab of a user, whose page has a function that brings tokens. */
async function tabOf(context, user, channel, options) {
  const tab = await stage.page(context)
  let asked = 0
  await tab.exposeFunction('bring', () => (asked++, token(secret, '-user', user, '-grant', 'tabs.*:all', '-ttl', '6s')))
  await tab.evaluate(([url, channel, options]) => open_(url, { token: () => bring(), nearest: false, ...options }, channel), [relay.url, channel, options])
  await tab.evaluate(() => ch.subscribe())
  return { tab, asked: () => asked }
}

for (const transport of ['wt', 'ws']) {
  test(`${transport}: tabs with token callbacks share, and the one that leads renews the token for all`, async () => {
    const before = await relay.sessions()
    const channel = `tabs.token-${transport}`
    const context = await stage.context()
    const tabs = []
    for (let i = 0; i < 3; i++) tabs.push(await tabOf(context, 'ann', channel, { transports: [transport] }))
    assert.equal((await relay.sessions()) - before, 1)
    assert.deepEqual(await Promise.all(tabs.map(({ tab }) => live(tab))), [transport, 'tab', 'tab'])
    const asked = tabs.map((t) => t.asked())
    const stop = publish(channel)
    for (const late = Date.now() + 40_000; tabs[0].asked() === asked[0]; await new Promise((go) => setTimeout(go, 100))) assert.ok(Date.now() < late, 'the token is not renewed')
    await new Promise((go) => setTimeout(go, 5000)) // the old one ends
    assert.deepEqual([tabs[1].asked(), tabs[2].asked()], asked.slice(1)) // who follows shows none
    assert.deepEqual(await tabs[0].tab.evaluate(() => states.map((s) => s.phase)), ['connecting', 'live'])
    await tabs[0].tab.close()
    assert.equal(await live(tabs[1].tab, transport), transport)
    const had = (await received(tabs[2].tab, 1)).length
    await received(tabs[2].tab, had + 20)
    const n = await stop()
    for (const { tab } of tabs.slice(1)) {
      assert.deepEqual(await received(tab, n), upTo(n))
      assert.deepEqual(await tab.evaluate(() => gaps), [])
    }
    await context.close()
  })
}

test('two users in one browser have two connections, and each is who it is', async () => {
  const before = await relay.sessions()
  const context = await stage.context()
  const [ann, bob, again] = [await tabOf(context, 'ann', 'tabs.two'), await tabOf(context, 'bob', 'tabs.two'), await tabOf(context, 'ann', 'tabs.two')]
  assert.equal((await relay.sessions()) - before, 2)
  assert.notEqual(await live(bob.tab), 'tab')
  assert.equal(await live(again.tab), 'tab')
  for (const { tab } of [ann, bob, again]) {
    await tab.evaluate(() => {
      window.from = []
      ch.on('message', (m) => from.push(m.from))
    })
  }
  for (const { tab } of [bob, again]) await tab.evaluate(() => ch.publish('who am I'))
  for (const { tab } of [ann, bob, again]) {
    await tab.waitForFunction(() => from.length === 2)
    assert.deepEqual(await tab.evaluate(() => from), ['bob', 'ann'])
  }
  await context.close()
})
