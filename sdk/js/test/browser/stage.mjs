// Chromium with a page that has the client, as it is published.
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import * as node from 'node:test'
import { chromium } from 'playwright-core'
import { find } from '../debian.mjs'

/** Why there is no browser; undefined where there is one. */
export let missing
try {
  find('chromium')
} catch (e) {
  missing = e.message
}

/** node:test's, skipped with the reason where there is no browser. */
export const test = (name, fn) => node.test(name, { skip: missing ?? false }, fn)
export const before = (fn) => missing ?? node.before(fn)
export const after = (fn) => missing ?? node.after(fn)

// What every page has: a client, what it delivered, and how it stood.
const html = `<!doctype html><meta charset="utf-8"><title>test</title><script type="module">
import { Chappe } from '/chappe.js'
Object.assign(window, { Chappe, got: [], gaps: [], states: [] })
window.open_ = (url, options, channel, co) => {
  window.began = performance.now()
  const c = (window.client = new Chappe(url, { agent: 'test', ...options }))
  c.on('state', (s) => states.push({ at: performance.now() - began, phase: s.phase, transport: s.transport, url: s.url, error: s.error?.message }))
  const ch = (window.ch = c.channel(channel, co))
  ch.on('gap', (g) => gaps.push(g))
  ch.on('message', (m) => {
    if (!got.length) window.first = performance.now() - began
    got.push(m.data)
  })
  ch.on('error', (e) => (window.failed = e.message))
}
window.ready = true
</script>`

/** How the browser is started. strict: it believes only what a user's would. */
function how({ args = [], strict = false } = {}) {
  const { path: executablePath, env } = find('chromium')
  return {
    executablePath,
    env,
    // Playwright turns QUIC off. Relays of the tests are their own authorities.
    ignoreDefaultArgs: ['--disable-quic'],
    args: ['--no-sandbox', '--enable-quic', ...(strict ? [] : ['--ignore-certificate-errors']), ...args],
  }
}

/** Starts a browser for other processes. */
export const serveBrowser = () => chromium.launchServer(how())

const files = { '/chappe.js': '../../dist/index.js', '/obey.js': '../obey.mjs' }

/** Serves pages that have the client. more: by path, what else is served. */
export async function servePages(more = {}) {
  const server = createServer(async (q, r) => {
    const file = files[q.url]
    r.setHeader('Content-Type', /\.js$/.test(q.url) ? 'text/javascript' : 'text/html')
    r.setHeader('Cache-Control', 'no-store')
    r.setHeader('Access-Control-Allow-Origin', '*') // a sandboxed frame is of no origin
    r.end(file ? await readFile(new URL(file, import.meta.url)) : (more[q.url] ?? html))
  })
  await new Promise((up) => server.listen(0, '127.0.0.1', up))
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close() {
      server.closeAllConnections()
      return new Promise((gone) => server.close(gone))
    },
  }
}

/** Starts the browser and the pages' server. */
export async function openStage({ pages: more, ...options } = {}) {
  const browser = await chromium.launch(how(options))
  const pages = await servePages(more)
  const { url } = pages
  return {
    browser,
    url,
    version: browser.version(),
    context: () => browser.newContext({ ignoreHTTPSErrors: true }),
    async page(context, at = url) {
      const page = await (context ?? (await browser.newContext({ ignoreHTTPSErrors: true }))).newPage()
      page.on('pageerror', (e) => (page.fault = e))
      await page.goto(at)
      await page.waitForFunction('window.ready')
      return page
    },
    async close() {
      await browser.close()
      await pages.close()
    },
  }
}

/** Opens a client in a page. */
export const open = (page, url, options, channel, co) => page.evaluate((a) => open_(...a), [url, options, channel, co])

/** Waits until the page's client is live, and says over what. */
export async function live(page, transport) {
  await page.waitForFunction((t) => client.state.phase === 'live' && (!t || client.state.transport === t), transport, { timeout: 30_000 })
  return page.evaluate(() => client.state.transport)
}

/** Waits until a page has n messages; returns all that it has. */
export async function received(page, n) {
  await page.waitForFunction((n) => got.length >= n, n, { timeout: 30_000 }).catch(async (e) => {
    throw new Error(`${await page.evaluate(() => JSON.stringify({ got: got.length, last: got.at(-1), skips: got.filter((v, i) => i && v !== got[i - 1] + 1).slice(0, 9), gaps, states: states.slice(-8), failed: window.failed }))}: ${e.message}`)
  })
  return page.evaluate(() => got)
}
