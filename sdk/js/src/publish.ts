import type { Ack, PublishOptions } from './api.js'
import { env } from './env.js'
import type { ChappeError } from './errors.js'
import type { Machine } from './machine.js'
import { backoff } from './pace.js'
import { sleep } from './request.js'
import { enclose } from './wire.js'

/** Publishes a message; a relay that is draining or overloaded is asked again when it says. */
export async function publish(m: Machine, channel: string, data: unknown, { signal, ttl, ...rest }: PublishOptions = {}): Promise<Ack> {
  // What was cut off is sent again, and must be known for a repeat.
  const id = [0, 0, 0].map(() => env.random().toString(36).slice(2)).join('')
  const frame = { t: 'pub', channel, id, ...rest, ttl_ms: ttl && Math.ceil(ttl), ...enclose(data) }
  for (let n = 0; ; n++) {
    try {
      const { stamp, dup = false } = await m.request(frame, signal)
      return { stamp, dup }
    } catch (e) {
      const { code, retryMs } = e as ChappeError
      // What is quiet is sent in the name of a session, which may just be coming back.
      if (!/^(draining|overloaded)$/.test(code) && !(rest.quiet && code === 'no_session')) throw e
      await sleep(retryMs || backoff(n))
    }
  }
}
