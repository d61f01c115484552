import type { Store, Transport } from './api.js'
import { env } from './env.js'
import { parse } from './wire.js'

/** What is remembered of a relay across pages, only for speed. */
export interface Entry {
  /** The transport that did last time. */
  transport?: Transport
  /** Until when UDP is thought to work. */
  udp?: number
  /** Of the relay's certificates, where it is its own authority. */
  hashes?: string[]
  /** Where it has WebTransport, if not at its own URL. */
  elsewhere?: string
  /** The region that was near, and until when that is believed. */
  home?: string
  settled?: number
}

const held: Record<string, Entry> = {}

const key = (url: string) => `chappe:${url}`

export const recall = (url: string): Entry => (held[url] ??= parse(env.storage?.getItem(key(url))))

export const remember = (url: string, e: Entry): void => keep(env.storage, key(url), JSON.stringify(Object.assign(recall(url), e)))

/** Keeps a text, where there is something to keep it in. */
export function keep(store: Store | undefined, key: string, text: string): void {
  try {
    store?.setItem(key, text)
  } catch {
    // full, or denied
  }
}
