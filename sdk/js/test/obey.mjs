// What a conformance driver does (sdk/conformance/README.md), in Node and in pages.

const code = (e) => (e ? (e.code ?? '') : undefined)

/** The commands. say reports an event. */
export function obey(Chappe, say) {
  let client
  const channels = new Map()
  const answer = (done, channel, told) =>
    done.then(
      (v) => say({ channel, ...told(v) }),
      (e) => say({ event: 'failed', channel, code: code(e) }),
    )
  return {
    open({ url, urls = [], hashes, transports, token, tokens, token_ms = 0 }) {
      const bring = async () => {
        say({ event: 'token' })
        await new Promise((go) => setTimeout(go, token_ms))
        if (!tokens.length) throw new Error('no token is left')
        return tokens.shift()
      }
      client = new Chappe([url, ...urls], { token: tokens ? bring : token, hashes, transports, share: false, nearest: false, log() {} })
      client.on('state', (s) => say({ event: 'state', phase: s.phase, url: s.url, code: code(s.error) }))
    },
    async subscribe({ channel, cursor, last, policy, via }) {
      const ch = client.channel(channel, { cursor, last, policy, via })
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
    },
    unsubscribe: ({ channel }) => channels.get(channel)?.close(),
    publish: ({ channel, id, data }) => answer(client.publish(channel, data, { id }), channel, ({ dup }) => ({ event: 'ack', dup })),
    history: ({ channel, cursor, last }) =>
      answer(client.channel(channel).history({ cursor, last }), channel, (page) => ({ event: 'page', count: page.messages.length, cursor: page.cursor })),
    async close() {
      client.close()
      await new Promise((done) => setTimeout(done, 20)) // loops end first
      say({ event: 'closed' })
    },
  }
}
