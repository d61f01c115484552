// The conformance driver of this client in a page: node driver.mjs BROWSER PAGE,
// where BROWSER is the endpoint of a Chromium that runs and PAGE a page of a stage.
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const [endpoint, url] = process.argv.slice(2)
const say = (e) => process.stdout.write(JSON.stringify(e) + '\n')

const browser = await chromium.connect(endpoint)
const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage()
await page.exposeFunction('say', say)
await page.goto(url)
await page.waitForFunction('window.ready')
await page.evaluate(async () => {
  const { obey } = await import('/obey.js')
  window.commands = obey(Chappe, say)
})

say({ event: 'ready', sdk: 'js in Chromium', transports: ['wt', 'ws', 'sse', 'poll'], can: ['fallback', 'udp-fallback'] })
createInterface(process.stdin)
  .on('line', (line) => void page.evaluate((c) => void commands[c.do](c), JSON.parse(line)))
  .on('close', async () => {
    await page.context().close()
    await browser.close()
    process.exit(0)
  })
