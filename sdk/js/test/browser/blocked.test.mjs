// What the network blocks is not felt: UDP, then upgrades, then streams, at
// connect and in mid-session. Nothing is lost, nothing comes twice.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import * as node from 'node:test'
import { find, onPath } from '../debian.mjs'
import { startMiddlebox, startRelay } from '../relay.mjs'
import { after, before, live, open, openStage, received, test } from './stage.mjs'

const self = fileURLToPath(import.meta.url)
const inside = process.env.CHAPPE_NAMESPACE
const limit = 3000 // ms until another transport is live
const dead = 2000 // ms of silence

/** Why this machine cannot drop packets in a network of its own; '' if it can. */
function obstacle() {
  try {
    if (process.getuid?.() !== 0) return 'needs root'
    if (!onPath('unshare') || !onPath('ip')) return 'needs unshare and ip (util-linux, iproute2)'
    const { path: nft, env } = find('nft')
    const tried = spawnSync('unshare', ['-n', nft, 'add table inet chappe'], { env, encoding: 'utf8' })
    return tried.status === 0 ? '' : `nft: ${tried.stderr.trim() || tried.error}`
  } catch (e) {
    return e.message
  }
}

// The same cases once more where UDP is dropped by the kernel.
if (!inside) {
  node.test('UDP dropped by nftables in a network namespace', (t) => {
    const why = obstacle()
    if (why) return t.skip(`not run: ${why}`)
    const { status, stdout, stderr } = spawnSync('unshare', ['-n', 'sh', '-c', `ip link set lo up && exec "$0" --test --test-reporter=tap "$1"`, process.execPath, self], {
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, CHAPPE_NAMESPACE: '1' },
      encoding: 'utf8',
    })
    for (const line of stdout.split('\n')) if (/^\s*(# .* ms|ok|not ok)/.test(line)) console.log(line.trim())
    assert.equal(status, 0, stdout + stderr)
  })
}

if (inside || obstacle()) {
  let stage, relay, net
  before(async () => {
    relay = await startRelay({ tls: true, env: { CHAPPE_LIMITS_PING: '1s', CHAPPE_LIMITS_DEAD: `${dead}ms` } })
    net = await startMiddlebox(relay)
    stage = await openStage()
  })
  after(async () => {
    await stage?.close()
    await net?.stop()
    await relay?.stop()
  })

  /** Has datagrams vanish, or pass again. */
  const drop = async (yes) => {
    if (!inside) return yes ? net.block('udp') : net.pass('udp')
    const { path: nft, env } = find('nft')
    const ours = 'table inet chappe'
    const rules = yes ? `add ${ours}; add chain inet chappe in { type filter hook input priority 0; }; add rule inet chappe in udp dport ${net.port} drop; add rule inet chappe in udp sport ${net.port} drop` : `delete ${ours}`
    execFileSync(nft, [rules], { env })
  }

  /** A context whose pages have seen UDP work. */
  const visited = async (channel) => {
    const context = await stage.context()
    const page = await stage.page(context)
    await open(page, net.url, { transports: ['wt'], share: false, nearest: false }, channel)
    await live(page, 'wt')
    await page.close()
    return context
  }

  const ways = [
    ['ws', 'UDP dropped', ['udp']],
    ['sse', 'UDP dropped, upgrades refused', ['udp', 'upgrades']],
    ['poll', 'UDP dropped, upgrades refused, streams held back', ['udp', 'upgrades', 'streams']],
  ]

  test('nothing blocked: WebTransport where UDP worked before', async () => {
    const context = await visited('n')
    const page = await stage.page(context)
    await open(page, net.url, { share: false, nearest: false }, 'n')
    assert.equal(await live(page), 'wt')
    await context.close()
  })

  for (const [transport, name, blocked] of ways) {
    test(`at connect: ${name}: ${transport} within 3 s`, async () => {
      const channel = `c.${transport}`
      const context = await visited(channel)
      await relay.publish(channel, 0)
      const page = await stage.page(context)
      for (const what of blocked) what === 'udp' ? await drop(true) : await net.block(what)
      try {
        await open(page, net.url, { share: false, nearest: false }, channel, { last: 1 })
        assert.equal(await live(page), transport)
        const at = await page.evaluate(() => states.find((s) => s.phase === 'live').at)
        console.log(`at connect: ${name}: ${transport} is live after ${at.toFixed(0)} ms`)
        assert.ok(at < limit, `${at} ms`)
        for (let n = 1; n < 10; n++) await relay.publish(channel, n)
        assert.deepEqual(await received(page, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      } finally {
        for (const what of blocked) what === 'udp' ? await drop(false) : await net.pass(what)
        await context.close()
      }
    })
  }

  test('what datagrams lose is told, no more and no less', async () => {
    const channel = 'd.1'
    const context = await visited(channel)
    const page = await stage.page(context)
    await open(page, net.url, { transports: ['wt'], share: false, nearest: false }, channel, { via: 'datagram' })
    await page.evaluate(() => ch.subscribe())
    const publish = async (from, to) => {
      for (let n = from; n < to; n++) await relay.publish(channel, n)
    }
    await publish(0, 5)
    await received(page, 5)
    await drop(true) // for a moment: the connection survives it
    await publish(5, 12)
    await drop(false)
    // The next one that comes shows what is missing. More than one may be lost on the way.
    for (let n = 12; n < 60 && !(await page.evaluate(() => gaps.length)); n++) {
      await publish(n, n + 1)
      await new Promise((go) => setTimeout(go, 50))
    }
    const { got, gaps, states } = await page.evaluate(() => ({ got, gaps, states: states.map((s) => s.phase) }))
    assert.deepEqual(states, ['connecting', 'live'])
    assert.deepEqual(gaps.map((g) => g.reason), ['lossy'])
    assert.ok(gaps[0].count >= 7, `${gaps[0].count} lost`)
    assert.deepEqual(got, [...new Set(got)].sort((a, b) => a - b))
    assert.equal(got.length + gaps[0].count, got.at(-1) + 1)
    console.log(`datagrams: ${gaps[0].count} of ${got.at(-1) + 1} were lost, and told`)
    await context.close()
  })

  test('in mid-session: UDP dropped, then upgrades, then streams; then all is back', async () => {
    const context = await visited('m')
    const page = await stage.page(context)
    await open(page, net.url, { share: false, nearest: false }, 'm')
    assert.equal(await live(page), 'wt')
    let n = 0
    let ended = false
    const publishing = (async () => {
      for (; !ended; n++) {
        await relay.publish('m', n)
        await new Promise((go) => setTimeout(go, 25))
      }
    })()
    for (const [transport, name, blocked] of ways) {
      const what = blocked.at(-1)
      await page.evaluate(() => (states.length = 0))
      const began = await page.evaluate(() => performance.now() - began)
      what === 'udp' ? await drop(true) : await net.block(what)
      assert.equal(await live(page, transport), transport)
      const at = (await page.evaluate(() => states.find((s) => s.phase === 'live').at)) - began
      console.log(`in mid-session: ${name}: ${transport} is live after ${at.toFixed(0)} ms, of which ${dead} ms are the dead interval`)
      assert.ok(at < dead + limit, `${at} ms`)
    }
    await drop(false)
    await net.pass('upgrades')
    await net.pass('streams')
    ended = true
    await publishing
    const got = await received(page, n)
    assert.deepEqual(got, Array.from({ length: n }, (_, i) => i))
    assert.deepEqual(await page.evaluate(() => gaps), [])
    console.log(`in mid-session: ${n} messages, each once and in order`)
    await context.close()
  })
}
