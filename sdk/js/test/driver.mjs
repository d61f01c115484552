// The conformance driver of this client (sdk/conformance/README.md).
import { createInterface } from 'node:readline'
import { Chappe } from '../dist/node.js'

const say = (e) => process.stdout.write(JSON.stringify(e) + '\n')
const code = (e) => (e ? (e.code ?? '') : undefined)
let client
const channels = new Map()

async function follow({ channel, cursor, last }) {
  const ch = client.channel(channel, { cursor, last })
  channels.set(channel, ch)
  try {
    await ch.subscribe()
    say({ event: 'subscribed', channel })
    for await (const e of ch.events()) {
      if (e.type === 'message') say({ event: 'message', channel, data: e.data, cursor: ch.cursor })
      if (e.type === 'gap') say({ event: 'gap', channel, count: e.count, reason: e.reason, cursor: ch.cursor })
    }
    say({ event: 'ended', channel, code: 'closed' })
  } catch (e) {
    say({ event: 'ended', channel, code: code(e) })
  }
}

const commands = {
  open({ url, transports, token, tokens }) {
    const bring = () => {
      say({ event: 'token' })
      if (!tokens.length) throw new Error('no token is left')
      return tokens.shift()
    }
    client = new Chappe(url, { token: tokens ? bring : token, transports, nearest: false })
    client.on('state', (s) => say({ event: 'state', phase: s.phase, url: s.url, code: code(s.error) }))
  },
  subscribe: follow,
  unsubscribe: ({ channel }) => channels.get(channel)?.close(),
  publish: ({ channel, id, data }) =>
    client.publish(channel, data, { id }).then(
      ({ dup }) => say({ event: 'ack', channel, dup }),
      (e) => say({ event: 'failed', channel, code: code(e) }),
    ),
  history: ({ channel, cursor, last }) =>
    client.history(channel, { cursor, last }).then(
      (page) => say({ event: 'page', channel, count: page.messages.length, cursor: page.cursor }),
      (e) => say({ event: 'failed', channel, code: code(e) }),
    ),
  async close() {
    client.close()
    await new Promise((done) => setTimeout(done, 20)) // loops end first
    say({ event: 'closed' })
  },
}

say({ event: 'ready', sdk: 'js', transports: ['ws', 'sse', 'poll'], can: ['fallback'] })
createInterface(process.stdin)
  .on('line', (line) => {
    const c = JSON.parse(line)
    void commands[c.do](c)
  })
  .on('close', () => process.exit(0))
