// Where a page may less than others.
import assert from 'node:assert/strict'
import { startRelay } from '../relay.mjs'
import { after, before, openStage, test } from './stage.mjs'

const inner = `<!doctype html><script type="module">
import { Chappe } from '/chappe.js'
const client = new Chappe(new URLSearchParams(location.search).get('relay'))
client.on('state', (s) => parent.postMessage({ phase: s.phase, transport: s.transport }, '*'))
client.channel('sandbox').on('message', (m) => parent.postMessage({ data: m.data }, '*'))
</script>`
const outer = `<!doctype html><script>
window.said = []
addEventListener('message', (e) => said.push(e.data))
window.ready = true
</script>`

let stage, relay
before(async () => {
  relay = await startRelay({ env: { CHAPPE_CLIENT_ORIGINS: 'null' } })
  stage = await openStage({ pages: { '/outer': outer, [`/inner?relay=${encodeURIComponent(relay.url)}`]: inner } })
})
after(async () => {
  await stage?.close()
  await relay?.stop()
})

test('a sandboxed frame, whose origin nobody shares, has a connection of its own and does not freeze', async () => {
  const page = await stage.page(undefined, `${stage.url}outer`)
  await page.evaluate((src) => {
    document.body.append(Object.assign(document.createElement('iframe'), { sandbox: 'allow-scripts', src }))
  }, `/inner?relay=${encodeURIComponent(relay.url)}`)
  await page.waitForFunction(() => said.some((s) => s.phase === 'live'), undefined, { timeout: 30_000 })
  await relay.publish('sandbox', 1)
  await page.waitForFunction(() => said.some((s) => s.data === 1), undefined, { timeout: 30_000 })
  const states = await page.evaluate(() => said.filter((s) => s.phase).map((s) => `${s.phase} ${s.transport}`))
  assert.deepEqual(states, ['connecting undefined', 'live ws'])
  await page.context().close()
})
