import { env } from './env.js'
import { closed, type ChappeError } from './errors.js'
import { get } from './http.js'
import type { Link } from './link.js'
import { lossOfAnswer } from './loss.js'
import { backoff } from './pace.js'
import type { Frame } from './wire.js'

/** What waits for an answer across connections. */
export interface Request {
  frame: Frame & { ref: number }
  /** Times that a relay could not answer now. */
  tries: number
  /** Ends the wait for the next time. */
  cancel(): void
  settle(answer?: Frame, error?: Error): void
}

/** Whether a refusal is over in a moment. What is quiet is sent in the name of a session, which may just be coming back. */
export const passes = ({ frame }: Request, e?: Error): e is ChappeError =>
  /draining|overloaded/.test((e as ChappeError)?.code) || (frame.quiet && (e as ChappeError)?.code === 'no_session')

/** Calls f with the reason when a signal aborts; the result undoes it. Throws the reason of one that has. */
export function onAbort(signal: AbortSignal | undefined, f: (why: Error) => void): () => void {
  const aborted = () => f(signal!.reason ?? closed())
  signal?.throwIfAborted()
  signal?.addEventListener('abort', aborted)
  return () => signal?.removeEventListener('abort', aborted)
}

/** Makes a request over HTTP, and makes it again while the network or something between us and the relay fails. */
export async function post(link: Link, r: Request): Promise<unknown> {
  const { t, ref, channel, quiet, ...rest } = r.frame
  const { m } = link
  const path = t === 'pub' ? '/v1/messages' : `/v1/channels/${encodeURIComponent(channel)}/${t === 'history' ? 'messages' : t}?${new URLSearchParams(rest)}`
  const init: RequestInit = t === 'pub' ? { method: 'POST', body: JSON.stringify({ messages: [{ channel, ...rest }] }) } : {}
  if (quiet) init.headers = { 'Chappe-Session': link.session! }
  let { renewable } = m.auth
  for (let n = 0; m.link === link && m.pending.has(ref); n++) {
    let delay = 0
    try {
      const token = await m.auth.bearer()
      const got = await get(link.base, path, AbortSignal.timeout(10_000), token, init)
      if (got.ok) {
        const f = await got.json()
        const [answer = f] = f.results ?? []
        return link.handle({ ...answer, ref })
      }
      const loss = await lossOfAnswer(got)
      if (loss.auth && renewable) {
        renewable = false
        await m.auth.renew(token)
        continue
      }
      if (!loss.mute) return m.settle(ref, undefined, loss.error)
      delay = loss.delay!
    } catch {
      // nobody answered, or no token was to be had
    }
    await new Promise<void>((go) => {
      const cancel = env.after(delay || backoff(n), go)
      r.cancel = () => {
        cancel()
        go()
      }
    })
  }
}
