import { ChappeError } from './errors.js'
import type { Frame } from './wire.js'

/** How a connection, or an attempt at one, ended (CLIENTS §3). */
export interface Loss {
  error: Error
  /** The relay's advice, in ms; 0 or none: it gave none. */
  delay?: number
  /** The credentials were refused. */
  auth?: boolean
  /** Coming back is useless. */
  terminal?: boolean
  /** The relay chose this moment for us: no further delay. */
  drained?: boolean
  /** With drained: where to go. */
  moved?: string[]
  /** The relay was silent: it did not announce this. */
  silent?: boolean
  /** The relay has not spoken at all: another transport may do. */
  mute?: boolean
}

/** A loss without a word of the relay. */
export const lossOf = (text: string, more?: Partial<Loss>): Loss => ({ error: new ChappeError('', text), ...more })

const maxAdvice = 600_000 // a wrong number must not send a client away for good

/** A delay told on the wire, in ms. */
export const advice = (ms: any): number => (ms > 0 ? Math.min(ms, maxAdvice) : 0)

/** Whether a code says that the credentials are refused. */
export const badCredentials = (code: string): boolean => /^(bad_token|token_expired|token_required)$/.test(code)

/** Reads JSON that may be anything. */
function parse(text: string): any {
  try {
    return JSON.parse(text) ?? {}
  } catch {
    return {} // of something on the way
  }
}

/** The loss that a close frame tells (PROTOCOL §8). last: the err frame before it, which says it at length. */
export function lossOfClose(code: number, reason: string, last?: Frame): Loss {
  const told = { ...parse(reason), ...last }
  const delay = advice(told.retry_ms)
  const auth = code >= 4400 && code < 4500
  return {
    error: new ChappeError(told.code ?? '', told.text ?? `connection lost (${code})`, delay, code),
    delay,
    auth,
    terminal: !auth && (/^(100[02789])$/.test(`${code}`) || code >= 4500),
  }
}

/** The loss that an HTTP answer tells (PROTOCOL §1.10). */
export function lossOfAnswer(status: number, body: string, retryAfter: string | null): Loss {
  const { code = '', text = `HTTP status ${status}`, retry_ms, terminal } = parse(body).error ?? {}
  const delay = advice(retry_ms ?? Number(retryAfter) * 1000)
  return {
    error: new ChappeError(code, text, delay),
    delay,
    mute: !code,
    auth: status === 401 || badCredentials(code),
    // Without a code of ours the answer may come from anything on the way. Some
    // statuses may be different next time.
    terminal: !!code && (terminal || (status >= 400 && status < 500 && !/^4(01|08|09|25|29)$/.test(`${status}`))),
  }
}
