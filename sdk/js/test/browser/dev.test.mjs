// What `chappe dev -tls` shows a browser that was given no flags: nobody vouches for
// its certificate, which pages believe by its hash.
import assert from 'node:assert/strict'
import { startRelay } from '../relay.mjs'
import { after, before, live, open, openStage, received, test } from './stage.mjs'

let stage, relay, clear, hashes
before(async () => {
  relay = await startRelay({ tls: true })
  stage = await openStage({ strict: true })
  clear = /in a browser, as it is: (\S+)/i.exec(relay.log())[1]
  ;({ hashes } = await (await fetch(new URL('/v1/probe', clear))).json())
})
after(async () => {
  await stage?.close()
  await relay?.stop()
})

for (const host of ['127.0.0.1', 'localhost']) {
  test(`the page of chappe dev at ${host}: an EventSource, and WebTransport beside it`, async () => {
    const context = await stage.browser.newContext()
    const page = await context.newPage()
    await page.goto(clear.replace('127.0.0.1', host))
    await page.fill('#channel', `dev.${host.replaceAll('.', '-')}`)
    await page.press('#channel', 'Tab')
    for (const box of ['#sse', '#wt']) {
      await page.waitForFunction((box) => document.querySelector(`${box} span`).textContent === 'live', box, { timeout: 30_000 })
    }
    await page.fill('#message', '{"from":"a page"}')
    await page.click('#publish button')
    for (const box of ['#sse', '#wt']) {
      await page.waitForFunction((box) => document.querySelector(`${box} li`)?.textContent === '{"from":"a page"}', box, { timeout: 30_000 })
    }
    assert.match(await page.textContent('#sse small'), /^cursor [\w-]+$/)
    assert.match(await page.textContent('#wt small'), /^stamp [\w-]{11}\.\d+\.1$/)
    await context.close()
  })
}

test('localhost is found over UDP too', async () => {
  const page = await (await stage.browser.newContext()).newPage()
  await page.goto(clear)
  const said = await page.evaluate(async (url) => {
    const { hashes } = await (await fetch('/v1/probe')).json()
    const value = Uint8Array.from(atob(hashes[0]), (c) => c.charCodeAt())
    return new WebTransport(`${url}/v1/wt`, { serverCertificateHashes: [{ algorithm: 'sha-256', value }] }).ready.then(() => 'ready', (e) => e.message)
  }, relay.url.replace('127.0.0.1', 'localhost'))
  assert.equal(said, 'ready')
})

test('and without the hash there is no way in', async () => {
  const page = await (await stage.browser.newContext()).newPage()
  await page.goto(clear)
  const said = await page.evaluate((url) => new WebTransport(`${url}/v1/wt`).ready.then(() => 'ready', (e) => e.name), relay.url)
  assert.equal(said, 'WebTransportError')
})

test('the client: with the hashes that chappe dev -tls prints', async () => {
  const page = await stage.page()
  await open(page, relay.url, { transports: ['wt'], hashes, share: false, nearest: false }, 'pinned')
  assert.equal(await live(page), 'wt')
  await page.evaluate(() => ch.subscribe())
  await relay.publish('pinned', 1)
  assert.deepEqual(await received(page, 1), [1])
  await page.context().close()
})

test('the client: from the address in the clear: it says where WebTransport is, and of which hash', async () => {
  const page = await stage.page()
  await open(page, clear, { share: false, nearest: false }, 'clear')
  await page.evaluate(() => ch.subscribe())
  assert.equal(await live(page), 'ws')
  assert.equal(await live(page, 'wt'), 'wt') // it joins late
  await relay.publish('clear', 1)
  assert.deepEqual(await received(page, 1), [1])
  await page.context().close()
})

test('the client: with other hashes there is no way in', async () => {
  const page = await stage.page()
  await open(page, relay.url, { transports: ['wt'], hashes: [btoa('x'.repeat(32))], share: false, nearest: false }, 'pinned')
  await page.waitForFunction(() => states.filter((s) => s.phase === 'waiting').length > 1)
  assert.ok(await page.evaluate(() => states.every((s) => s.phase !== 'live')))
  await page.context().close()
})
