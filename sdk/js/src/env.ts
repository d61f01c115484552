import type { Store } from './api.js'

/** What the client takes from its surroundings; tests put others in their place. */
export interface Env {
  now(): number
  /** Runs f after ms; the result cancels it. */
  after(ms: number, f: () => void): () => void
  /** Uniform in [0, 1). */
  random(): number
  fetch: typeof fetch
  WebSocket?: new (url: string, protocols: string[]) => WebSocket
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
const far = 2 ** 31 - 1 // ms: a timer of the platform that is set for longer goes off at once

export const env: Env = {
  now: () => Date.now(),
  after(ms, f) {
    let timer: any
    const set = (left: number) => {
      timer = setTimeout(() => (left > far ? set(left - far) : f()), Math.min(left, far))
    }
    set(ms)
    return () => clearTimeout(timer)
  },
  random: Math.random,
  fetch: (url, o) => fetch(url, o),
  WebSocket: g.WebSocket,
  WebTransport: g.WebTransport,
  locks: page?.navigator.locks,
  BroadcastChannel: g.BroadcastChannel,
  page,
  hidden: () => page?.document.hidden,
}
try {
  env.storage = page?.localStorage
} catch {
  // pages may be denied it
}
