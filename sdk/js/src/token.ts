import type { TokenSource } from './api.js'
import { env } from './env.js'
import { unb64 } from './position.js'
import { enclose, type Frame } from './wire.js'

const patience = 30_000 // ms that a callback has: one that never answers must not stop the client

/**
 * The credentials: a token, and for a session the resume ticket of an earlier
 * one, which costs the relay less than a token (CLIENTS §2).
 */
export class Credentials {
  /** Whether a new token can be had. */
  readonly renewable: boolean
  private token?: string
  private ends = Infinity
  private ticket?: string
  private asked: Promise<string> | undefined // one question at a time

  constructor(private readonly source: TokenSource = '') {
    this.renewable = typeof source !== 'string'
    if (typeof source === 'string') this.token = source
  }

  /** What to present in hello. */
  async show(): Promise<{ token?: string; resume?: string }> {
    if (env.now() < this.ends) {
      if (this.ticket) return { resume: this.ticket }
    } else if (this.renewable) this.token = ''
    return { token: await this.bearer() }
  }

  /** A token for a plain request; '' for an anonymous client. */
  async bearer(): Promise<string> {
    const { source } = this
    if (this.token || !this.renewable) return this.token ?? ''
    this.asked ??= new Promise<string>((yes, no) => {
      const cancel = env.after(patience, () => no(new Error('no token')))
      void (async () => (source as () => string)())().then(yes, no).then(cancel)
    }).finally(() => (this.asked = undefined))
    this.token = await this.asked
    this.ends = Infinity
    if (!this.token) throw new Error('no token')
    return this.token
  }

  /** Whom the relay takes us for: what a token says but for its times and its number, hashed; '' if anonymous. undefined: it is no JWT, and says nothing to us. */
  async who(): Promise<unknown> {
    const token = await this.bearer()
    if (!token) return ''
    try {
      const { iat, nbf, exp, jti, ...says } = JSON.parse(unb64(token.split('.')[1]!))
      return enclose(await crypto.subtle.digest('sha-256', new TextEncoder().encode(JSON.stringify(says)))).data
    } catch {
      return undefined
    }
  }

  /** Brings a new token in any case. The ticket, which speaks of the old one's grants, is not shown again. */
  fresh(): Promise<string> {
    this.ticket = ''
    return this.renew(this.token!)
  }

  /** Brings a token other than old, unless that has happened already. */
  renew(old: string): Promise<string> {
    if (this.renewable && this.token === old) this.token = ''
    return this.bearer()
  }

  /**
   * Records what a relay said of the credentials, and returns when they end. `expires`
   * is by its clock: ours may be ahead, so an end that is near says nothing.
   */
  accepted({ resume, expires, expires_ms }: Frame): number {
    const now = env.now()
    this.ticket = resume || this.ticket
    return (this.ends = expires_ms ? now + expires_ms : expires > now + 10_000 ? expires : Infinity)
  }

  /** Records that the credentials were refused, and reports whether there are others to try. */
  refused(): boolean {
    const others = !!this.ticket || this.renewable
    if (!this.ticket && this.renewable) this.token = ''
    this.ticket = ''
    return others
  }

  /** Milliseconds until a new token should be brought: a random moment in the last minute, or in the last quarter of a short life. */
  renewal(expires: number): number {
    const left = expires - env.now()
    const margin = Math.min(60_000, left / 4)
    return Math.max(1000, left - margin + (env.random() * margin) / 2)
  }
}
