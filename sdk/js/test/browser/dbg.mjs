import { startRelay } from '../relay.mjs'
import { live, open, openStage, received } from './stage.mjs'
const relay = await startRelay({ tls: true }), stage = await openStage()
const context = await stage.context()
await context.addInitScript(() => {
  window.log = []
  const W = WebSocket
  window.WebSocket = class extends W {
    constructor(...a) { super(...a); this.addEventListener('message', (e) => log.push('< ' + e.data)) }
    send(t) { log.push('> ' + t); super.send(t) }
  }
  const B = BroadcastChannel
  window.BroadcastChannel = class extends B {
    constructor(...a) { super(...a); this.addEventListener('message', (e) => log.push('air< ' + JSON.stringify(e.data))) }
    postMessage(t) { log.push('air> ' + JSON.stringify(t)); super.postMessage(t) }
  }
})
for (let round = 0; round < 6; round++) {
const [a, b] = [await stage.page(context), await stage.page(context)]
for (const [i, tab] of [a, b].entries()) {
  await open(tab, relay.url, { transports: ['ws'] }, 'tabs.hung'+round)
  await tab.evaluate(() => ch.subscribe())
}
let n = 0, go=true
const p = (async()=>{ while(go){ await relay.publish('tabs.hung'+round, n++); await new Promise(g=>setTimeout(g,20)) } })()
await received(b, 3)
await a.evaluate(() => { for (const until = performance.now() + 10_000; performance.now() < until; ); })
await new Promise((g) => setTimeout(g, 500))
go=false; await p
const bad = await a.evaluate(() => got.filter((v, i) => i && v !== got[i - 1] + 1))
console.log('round', round, n, bad)
if (bad.length) {
  const v = bad[0]
  for (const tab of [a, b]) {
    console.log('-----', tab === a ? 'a' : 'b')
    console.log(await tab.evaluate((v) => { const i = log.findLastIndex((l) => /hello/.test(l) && l.startsWith(client.m.tabs.follower ? 'air>' : 'air<')); return log.slice(Math.max(0, i - 8), i + 12).map((l) => l.slice(0, 330)).join('\n') }, v))
  }
  break
}
await a.close(); await b.close()
}
await stage.close(); await relay.stop()
