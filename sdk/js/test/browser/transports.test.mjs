// Each transport in Chromium, against a relay that speaks TLS.
import assert from 'node:assert/strict'
import { within } from '../machine.mjs'
import { startRelay } from '../relay.mjs'
import { after, before, live, open, openStage, received, test } from './stage.mjs'

const soon = 150 // ms until the first message, on loopback
const connections = 9 // of which the median counts

let stage, relay
before(async () => {
  relay = await startRelay({ tls: true })
  stage = await openStage()
  console.log(`Chromium ${stage.version}`)
})
after(async () => {
  await stage?.close()
  await relay?.stop()
})

for (const transport of ['wt', 'ws', 'sse', 'poll']) {
  test(`${transport}: connects, gets what is kept and what is new`, async () => {
    const channel = `t.${transport}`
    await relay.publish(channel, 0)
    const page = await stage.page()
    await open(page, relay.url, { transports: [transport], share: false }, channel, { last: 1 })
    await received(page, 1)
    assert.equal(await live(page), transport)
    for (let n = 1; n <= 5; n++) await relay.publish(channel, n)
    assert.deepEqual(await received(page, 6), [0, 1, 2, 3, 4, 5])
    assert.deepEqual(await page.evaluate(() => gaps), [])
    // and the way up
    const { stamp } = await page.evaluate(() => ch.publish({ up: true }))
    assert.match(stamp, /^[\w-]{11}\.\d+\.\d+$/)
    assert.deepEqual((await received(page, 7))[6], { up: true })
    await page.context().close()
  })

  test(`${transport}: the first message comes within ${soon} ms`, async (t) => {
    const channel = `first.${transport}`
    await relay.publish(channel, 0)
    const context = await stage.context()
    // A visit before: the certificate's hash is known, connections are not.
    const visit = async () => {
      const page = await stage.page(context)
      await open(page, relay.url, { transports: [transport], share: false }, channel, { last: 1 })
      await received(page, 1)
      const times = await page.evaluate(() => [states.find((s) => s.phase === 'live').at, first])
      await page.close()
      return times
    }
    await visit()
    const median = (all) => all.sort((a, b) => a - b)[(connections - 1) / 2]
    const measure = async () => {
      const all = []
      for (let n = 0; n < connections; n++) all.push(await visit())
      return [0, 1].map((i) => median(all.map((times) => times[i])))
    }
    const found = await within(t, measure, ([, first]) => first <= soon)
    if (found) console.log(`${transport}: connected after ${found[0].toFixed(0)} ms, first message after ${found[1].toFixed(0)} ms (medians of ${connections})`)
    await context.close()
  })
}
