import type { Store } from './api.js'

/** The HTTP answer to an upgrade; only where the platform shows it. */
export interface Refused {
  status: number
  body: string
  retryAfter: string | null
}

/** What the client takes from its surroundings; tests put others in their place. */
export interface Env {
  now(): number
  /** Runs f after ms; the result cancels it. */
  after(ms: number, f: () => void): () => void
  /** Uniform in [0, 1). */
  random(): number
  fetch: typeof fetch
  WebSocket?: new (url: string, protocols: string[]) => WebSocket & { refused?: Refused }
  WebTransport?: any // absent from Node's types
  storage?: Store
  locks?: LockManager
  BroadcastChannel?: typeof BroadcastChannel
  /** Events of the page: online, pagehide, pageshow, visibilitychange. */
  page?: EventTarget
  hidden(): boolean
}

const g = globalThis as any
const page = g.document && g

export const env: Env = {
  now: () => Date.now(),
  after(ms, f) {
    const timer = setTimeout(f, ms)
    return () => clearTimeout(timer)
  },
  random: Math.random,
  fetch: (url, o) => fetch(url, o),
  WebSocket: g.WebSocket,
  WebTransport: g.WebTransport,
  locks: page?.navigator.locks,
  BroadcastChannel: g.BroadcastChannel,
  page,
  hidden: () => !!page?.document.hidden,
}
try {
  env.storage = page?.localStorage
} catch {
  // pages may be denied it
}
