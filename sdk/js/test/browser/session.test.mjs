// What happens to a page and its connection in the course of time.
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

const upTo = (n) => Array.from({ length: n }, (_, i) => i)

for (const transport of ['wt', 'ws', 'sse', 'poll']) {
  test(`${transport}: a token is replaced before its end`, async () => {
    const channel = `token.${transport}`
    const page = await stage.page()
    let asked = 0
    await page.exposeFunction('bring', () => (asked++, token(secret, '-user', 'ann', '-grant', 'token.*:all', '-ttl', '5s')))
    await page.evaluate(([url, channel, transport]) => open_(url, { token: () => bring(), transports: [transport], share: false, nearest: false }, channel), [relay.url, channel, transport])
    await page.evaluate(() => ch.subscribe())
    let n = 0
    for (const until = Date.now() + 12_000; Date.now() < until; n++) {
      await relay.publish(channel, n)
      await new Promise((go) => setTimeout(go, 50))
    }
    assert.deepEqual(await received(page, n), upTo(n))
    assert.deepEqual(await page.evaluate(() => gaps), [])
    assert.ok(asked >= 2, `asked for ${asked} tokens`)
    // The connection stayed: it was live once and nothing else since.
    assert.deepEqual(await page.evaluate(() => states.map((s) => s.error ?? s.phase)), ['connecting', 'live'])
    await page.context().close()
  })
}

for (const transport of ['wt', 'ws', 'sse', 'poll']) {
  test(`${transport}: a refusal for good ends the client, and says why`, async () => {
    const page = await stage.page()
    await open(page, relay.url, { token: 'not.a.token', transports: [transport], share: false, nearest: false }, 'refused')
    await page.waitForFunction(() => client.state.phase === 'closed', undefined, { timeout: 30_000 })
    assert.deepEqual(await page.evaluate(() => [client.state.error.code, window.failed.split(':')[0]]), ['bad_token', 'bad_token'])
    await page.context().close()
  })
}

test('a page that is loaded again goes on where it was', async () => {
  const page = await stage.page()
  // What was taken before the page was put away counts too: messages come until then.
  const start = () =>
    page.evaluate((url) => {
      got.push(...JSON.parse(sessionStorage.taken ?? '[]'))
      addEventListener('pagehide', () => (sessionStorage.taken = JSON.stringify(got)))
      open_(url, { transports: ['ws'], share: false, nearest: false, store: sessionStorage }, 'reload')
    }, relay.url)
  await start()
  await page.evaluate(() => ch.subscribe())
  for (let n = 0; n < 5; n++) await relay.publish('reload', n)
  assert.deepEqual(await received(page, 5), upTo(5))
  for (let round = 1; round < 4; round++) {
    const reloading = page.reload()
    for (let n = 0; n < 5; n++) await relay.publish('reload', round * 5 + n)
    await reloading
    await page.waitForFunction('window.ready')
    await start()
    assert.deepEqual(await received(page, round * 5 + 5), upTo(round * 5 + 5))
    assert.deepEqual(await page.evaluate(() => gaps), [])
  }
  await page.context().close()
})

test('WebTransport joins late, and takes over without a loss', async () => {
  const page = await stage.page()
  await open(page, relay.url, { share: false }, 'late')
  await page.evaluate(() => ch.subscribe())
  assert.equal(await live(page), 'ws')
  let n = 0
  let ended = false
  const publishing = (async () => {
    for (; !ended; n++) {
      await relay.publish('late', n)
      await new Promise((go) => setTimeout(go, 20))
    }
  })()
  await live(page, 'wt')
  const had = (await received(page, 1)).length
  await received(page, had + 20)
  ended = true
  await publishing
  assert.deepEqual(await received(page, n), upTo(n))
  assert.deepEqual(await page.evaluate(() => gaps), [])
  assert.ok(await page.evaluate(() => states.every((s) => s.phase !== 'waiting')))
  // From now on it leads.
  const next = await stage.page(page.context())
  await open(next, relay.url, { share: false }, 'late')
  assert.equal(await live(next), 'wt')
  assert.deepEqual(await next.evaluate(() => states.map((s) => s.transport).filter(Boolean)), ['wt'])
  await page.context().close()
})

test('channels with a stream of their own, and with datagrams', async () => {
  const page = await stage.page()
  await open(page, relay.url, { transports: ['wt'], share: false }, 'ways.together')
  const ways = { stream: 'stream', second: 'stream', datagram: 'datagram' }
  await page.evaluate((ways) => {
    window.apart = {}
    const all = Object.entries(ways).map(([name, via]) => {
      apart[name] = []
      return client.channel(`ways.${name}`, { via }).on('message', (m) => apart[name].push(m.data)).subscribe()
    })
    return Promise.all([ch.subscribe(), ...all])
  }, ways)
  for (let n = 0; n < 20; n++) for (const name of ['together', ...Object.keys(ways)]) await relay.publish(`ways.${name}`, n)
  assert.deepEqual(await received(page, 20), upTo(20))
  await page.waitForFunction(() => apart.stream.length >= 20 && apart.second.length >= 20 && apart.datagram.length)
  const { stream, second, datagram } = await page.evaluate(() => apart)
  assert.deepEqual([stream, second], [upTo(20), upTo(20)])
  assert.deepEqual(datagram, [...new Set(datagram)].sort((a, b) => a - b))
  console.log(`datagrams: ${datagram.length} of 20 came`)
  await page.context().close()
})
