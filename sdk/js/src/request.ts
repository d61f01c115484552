import { env } from './env.js'
import { ChappeError } from './errors.js'
import { get } from './http.js'
import type { Link } from './link.js'
import { lossOfAnswer } from './loss.js'
import { backoff } from './pace.js'
import type { Frame } from './wire.js'

/** What waits for an answer across connections. */
export interface Request {
  frame: Frame & { ref: number }
  settle(answer?: Frame, error?: Error): void
}

export const sleep = (ms: number): Promise<void> => new Promise((go) => env.after(ms, go))

/** Makes a request over HTTP, and makes it again while the network or something between us and the relay fails. */
export async function post(link: Link, { frame, settle }: Request): Promise<void> {
  const { t, ref, channel, quiet, cursor, last, limit, ...rest } = frame
  const { m } = link
  let path = '/v1/messages'
  let init: RequestInit = { method: 'POST', body: JSON.stringify({ messages: [{ channel, ...rest }] }) }
  if (quiet) init.headers = { 'Chappe-Session': link.session }
  if (t !== 'pub') {
    const q = Object.entries({ cursor, last, limit }).filter(([, v]) => v)
    path = `/v1/channels/${encodeURIComponent(channel)}/${t === 'history' ? 'messages' : t}?${new URLSearchParams(q)}`
    init = {}
  }
  let renewed = false
  for (let n = 0; m.link === link && m.waits(ref); n++) {
    let delay = 0
    try {
      const token = await m.auth.bearer()
      const r = await get(link.base, path, AbortSignal.timeout(10_000), { ...init, token })
      const text = await r.text()
      if (r.ok) {
        const f = JSON.parse(text)
        const [f0 = f] = f.results ?? []
        return f0.t === 'err' ? settle(undefined, new ChappeError(f0.code, f0.text, f0.retry_ms)) : settle(f0)
      }
      const loss = lossOfAnswer(r.status, text, r.headers.get('Retry-After'))
      if (loss.auth && m.auth.renewable && !renewed) {
        renewed = true
        await m.auth.renew(token)
        continue
      }
      if (!loss.mute) return settle(undefined, loss.error)
      delay = loss.delay!
    } catch {
      // nobody answered, or no token was to be had
    }
    await sleep(delay || backoff(n))
  }
}
