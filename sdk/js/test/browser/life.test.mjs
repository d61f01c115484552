// What happens to a page that is hidden, frozen, or loses its network.
import assert from 'node:assert/strict'
import { freePort, startMiddlebox, startRelay } from '../relay.mjs'
import { after, before, live, open, openStage, received, test } from './stage.mjs'

const dead = 2000 // ms of silence
const env = { CHAPPE_LIMITS_PING: '1s', CHAPPE_LIMITS_DEAD: `${dead}ms` }

let stage, relay
before(async () => {
  relay = await startRelay({ env })
  stage = await openStage()
})
after(async () => {
  await stage?.close()
  await relay?.stop()
})

const upTo = (n) => Array.from({ length: n }, (_, i) => i)

test('the network is back: a client that waits does not wait any longer', async (t) => {
  const port = await freePort()
  const mine = await startRelay({ port, env })
  t.after(() => mine.stop())
  const page = await stage.page()
  await open(page, mine.url, { transports: ['ws'], share: false, nearest: false }, 'online')
  await live(page)
  await mine.stop()
  // Until the next attempt is far away.
  await page.waitForFunction(() => client.state.phase === 'waiting' && client.state.until - Date.now() > 6000, undefined, { timeout: 120_000 })
  const until = await page.evaluate(() => +client.state.until)
  await page.context().setOffline(true)
  await page.context().setOffline(false)
  await page.waitForFunction((until) => client.state.phase !== 'waiting' || +client.state.until !== until, until)
  assert.ok(Date.now() < until - 1000, 'it tried only when it would have anyway')
  const again = await startRelay({ port, env })
  t.after(() => again.stop())
  await live(page)
  await page.context().close()
})

test('a connection that the network took with it is noticed when that is back, not after the dead interval', async (t) => {
  const slow = await startRelay({ tls: true }) // dead after 15 s
  t.after(() => slow.stop())
  const net = await startMiddlebox(slow)
  t.after(() => net.stop())
  const page = await stage.page()
  await open(page, net.url, { transports: ['ws', 'sse'], share: false, nearest: false }, 'offline')
  await page.evaluate(() => ch.subscribe())
  assert.equal(await live(page), 'ws')
  await net.block('upgrades') // the one that stands falls silent, too
  await slow.publish('offline', 0)
  const began = Date.now()
  await page.context().setOffline(true)
  await page.context().setOffline(false)
  assert.equal(await live(page, 'sse'), 'sse')
  const took = Date.now() - began
  assert.ok(took < 10_000, `${took} ms`) // 3 s for a sign of life, and a share of 2 s
  assert.deepEqual(await received(page, 1), [0])
  assert.deepEqual(await page.evaluate(() => gaps), [])
  await page.context().close()
})

for (const transport of ['ws', 'sse', 'poll']) {
  test(`${transport}: a page that was frozen goes on where it was`, async () => {
    const channel = `frozen.${transport}`
    const page = await stage.page()
    await open(page, relay.url, { transports: [transport], share: false, nearest: false }, channel)
    await page.evaluate(() => ch.subscribe())
    await relay.publish(channel, 0)
    await received(page, 1)
    const cdp = await page.context().newCDPSession(page)
    await cdp.send('Page.setWebLifecycleState', { state: 'frozen' })
    for (let n = 1; n < 40; n++) {
      await relay.publish(channel, n)
      await new Promise((go) => setTimeout(go, 100)) // longer than the relay waits for a sign of life
    }
    await cdp.send('Page.setWebLifecycleState', { state: 'active' })
    assert.deepEqual(await received(page, 40), upTo(40))
    assert.deepEqual(await page.evaluate(() => gaps), [])
    await page.context().close()
  })
}

test('what was taken is stored when the page is hidden: one that ends without a word goes on there', async () => {
  const context = await stage.context()
  const page = await stage.page(context)
  const start = (p) => p.evaluate((url) => open_(url, { transports: ['ws'], share: false, nearest: false, store: localStorage }, 'hidden'), relay.url)
  await start(page)
  await page.evaluate(() => ch.subscribe())
  for (let n = 0; n < 3; n++) await relay.publish('hidden', n)
  await received(page, 3)
  await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { value: true })
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))
    addEventListener('pagehide', (e) => e.stopImmediatePropagation(), { capture: true }) // as in a crash: nobody hears of it
  })
  const cdp = await context.newCDPSession(page)
  cdp.send('Page.crash').catch(() => {})
  await new Promise((go) => page.once('crash', go))
  for (let n = 3; n < 6; n++) await relay.publish('hidden', n)
  const next = await stage.page(context)
  await start(next)
  assert.deepEqual(await received(next, 3), [3, 4, 5])
  assert.deepEqual(await next.evaluate(() => gaps), [])
  await context.close()
})
