// Each transport in Chromium, against a relay that speaks TLS.
import assert from 'node:assert/strict'
import { startRelay } from '../relay.mjs'
import { after, before, live, open, openStage, received, test } from './stage.mjs'

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
    await relay.publish(`t.${transport}`, 0)
    const context = await stage.context()
    // The second page of a visit: the certificate's hash is known, connections are not.
    for (const round of [1, 2]) {
      const page = await stage.page(context)
      await open(page, relay.url, { transports: [transport], share: false }, `t.${transport}`, { last: 1 })
      await received(page, 1)
      assert.equal(await live(page), transport)
      const { connected, first } = await page.evaluate(() => ({ connected: states.find((s) => s.phase === 'live').at, first }))
      console.log(`${transport}, visit ${round}: connected after ${connected.toFixed(0)} ms, first message after ${first.toFixed(0)} ms`)
      for (let n = 1; n <= 5; n++) await relay.publish(`t.${transport}`, n)
      assert.deepEqual(await received(page, 6), [0, 1, 2, 3, 4, 5])
      assert.deepEqual(await page.evaluate(() => gaps), [])
      // and the way up
      const { stamp } = await page.evaluate(() => ch.publish({ up: true }))
      assert.match(stamp, /^[\w-]{11}\.\d+\.\d+$/)
      assert.deepEqual((await received(page, 7))[6], { up: true })
      await relay.publish(`t.${transport}`, 0)
      await page.close()
    }
    await context.close()
  })
}
