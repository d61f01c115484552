import { ChappeError } from './errors.js'
import { parse } from './wire.js'

/** How a connection, or an attempt at one, ended (CLIENTS §3). */
export interface Loss {
  error: Error
  /** The relay's advice, in ms; 0 or none: it gave none. */
  delay?: number
  /** The credentials were refused. */
  auth?: boolean
  /** Coming back is useless. */
  terminal?: boolean
  /** The relay chose this moment for us, so no further delay, and says where to go. */
  moved?: string[]
  /** We left: it says nothing of the relay. */
  ours?: boolean
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

// Refused for good: close codes (PROTOCOL §8), and statuses that will not be
// different next time.
const final = /^(100[02789]|4[5-9]..|4(?!0[189]|2[59])..)$/

/** The loss that a close code or an HTTP status tells (0: neither), with what was said beside it: a reason, the body of a refusal, an err frame. */
export function lossBy(status: number, { code = '', text = status && `status ${status}`, retry_ms, terminal }: any): Loss {
  const delay = advice(retry_ms)
  const auth = /^(401|44..)$/.test(`${status}`) || /token/.test(code)
  return {
    error: new ChappeError(code, text, delay),
    delay,
    auth,
    mute: !code, // then it may come from anything on the way
    terminal: !auth && (terminal || (final.test(`${status}`) && (status > 999 || !!code))),
  }
}

/** The loss that an HTTP answer tells (PROTOCOL §1.10). */
export const lossOfAnswer = async (r: Response): Promise<Loss> =>
  lossBy(r.status, { retry_ms: +r.headers.get('Retry-After')! * 1000, ...parse(await r.text()).error })
