// The conformance cases in Chromium, which has what Node has not: WebTransport.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import * as node from 'node:test'
import { program } from '../relay.mjs'
import { missing, serveBrowser, servePages } from './stage.mjs'

const path = (name) => new URL(name, import.meta.url).pathname

node.test('conformance in Chromium', async (t) => {
  // Without a browser Node's driver says what it cannot, and each case is named.
  let driver = [path('../driver.mjs')]
  if (!missing) {
    const [browser, pages] = [await serveBrowser(), await servePages()]
    t.after(() => Promise.all([browser.close(), pages.close()]))
    driver = [path('driver.mjs'), browser.wsEndpoint(), pages.url]
  }
  const child = spawn(program('conformance'), ['-json', '-transport', 'wt', '--', process.execPath, ...driver], { stdio: ['ignore', 'pipe', 'inherit'] })
  const verdicts = []
  for await (const line of createInterface(child.stdout)) verdicts.push(JSON.parse(line))
  for (const { case: name, transport, verdict, why, seconds } of verdicts) {
    const skip = verdict === 'not run' && (missing ?? why)
    await t.test(`${name} over ${transport}`, { skip }, () => {
      if (verdict !== 'pass') throw new Error(`${why} (after ${seconds.toFixed(1)} s)`)
    })
  }
  if (verdicts.length < 40) throw new Error(`only ${verdicts.length} cases: see above`)
})
