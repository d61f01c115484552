// The examples for browsers run, in two windows that hear each other.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { build } from 'esbuild'
import { startRelay } from '../relay.mjs'
import { after, before, openStage, test } from './stage.mjs'

const here = (name) => new URL(`../../${name}`, import.meta.url).pathname

/** The React example with a version of React, as an application bundles it. */
async function react(version) {
  const { outputFiles } = await build({
    stdin: {
      contents: `
        import { StrictMode } from 'react'
        import { createRoot } from 'react-dom/client'
        import { Chappe } from '@chappe/client'
        import { Chat } from './useChannel.jsx'
        const client = new Chappe(new URLSearchParams(location.search).get('relay'))
        createRoot(document.querySelector('#root')).render(<StrictMode><Chat room="react${version}" client={client} /></StrictMode>)`,
      resolveDir: here('examples/react'),
      loader: 'jsx',
    },
    alias: { '@chappe/client': here('dist/index.js'), ...(version === 18 && { react: 'react-18', 'react-dom': 'react-dom-18' }) },
    define: { 'process.env.NODE_ENV': '"development"' },
    nodePaths: [here('node_modules')],
    jsx: 'automatic',
    bundle: true,
    write: false,
    format: 'esm',
  })
  return outputFiles[0].text
}

let stage, relay
before(async () => {
  relay = await startRelay()
  const to = `?relay=${encodeURIComponent(relay.url)}`
  const pages = {
    [`/examples/vanilla/index.html${to}`]: readFileSync(here('examples/vanilla/index.html'), 'utf8'),
    '/dist/index.js': readFileSync(here('dist/index.js')),
  }
  for (const v of [18, 19]) {
    pages[`/react${v}.js`] = await react(v)
    pages[`/react${v}${to}`] = `<!doctype html><div id="root"></div><script type="module" src="/react${v}.js"></script>`
  }
  stage = await openStage({ pages })
})
after(async () => {
  await stage?.close()
  await relay?.stop()
})

/** Two windows of one browser send, and both show both. */
async function chat(path, { input, line }) {
  const context = await stage.context()
  const faults = []
  const windows = []
  for (let i = 0; i < 2; i++) {
    const page = await context.newPage()
    page.on('pageerror', (e) => faults.push(e.message))
    page.on('console', (m) => m.type() === 'error' && !/favicon/.test(m.location().url) && faults.push(m.text()))
    await page.goto(`${stage.url}${path}?relay=${encodeURIComponent(relay.url)}`)
    windows.push(page)
  }
  for (const [i, page] of windows.entries()) {
    await page.fill(input, `from ${i}`)
    await page.press(input, 'Enter')
    await page.waitForFunction((input) => document.querySelector(input).value === '', input) // it was sent
  }
  for (const page of windows) {
    await page.waitForFunction(([line, n]) => document.querySelectorAll(line).length === n, [line, 2])
    assert.deepEqual(await page.$$eval(line, (all) => all.map((li) => li.textContent)), ['from 0', 'from 1'])
  }
  const late = await context.newPage()
  await late.goto(`${stage.url}${path}?relay=${encodeURIComponent(relay.url)}`)
  await late.waitForFunction(([line, n]) => document.querySelectorAll(line).length === n, [line, 2])
  assert.deepEqual(faults, [])
  await context.close()
}

test('vanilla', () => chat('examples/vanilla/index.html', { input: '#text', line: '#messages li' }))
for (const v of [18, 19]) test(`React ${v}`, () => chat(`react${v}`, { input: 'input', line: 'li' }))
