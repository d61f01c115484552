import type { Transport } from './api.js'
import { env } from './env.js'

/** What is remembered of a relay across pages, only for speed. */
export interface Entry {
  /** The transport that did last time. */
  kind?: Transport
  /** Until when UDP is thought to work. */
  udp?: number
  /** Of the relay's certificates, where it is its own authority. */
  hashes?: string[]
  /** The region that was near, and until when that is believed. */
  home?: string
  settled?: number
}

const held = new Map<string, Entry>()

export function recall(url: string): Entry {
  if (!held.has(url)) {
    let e: Entry = {}
    try {
      e = JSON.parse(env.storage?.getItem(`chappe:${url}`) ?? '{}')
    } catch {
      // not ours, or denied
    }
    held.set(url, e)
  }
  return held.get(url)!
}

export function remember(url: string, e: Entry): void {
  try {
    env.storage?.setItem(`chappe:${url}`, JSON.stringify(Object.assign(recall(url), e)))
  } catch {
    // full, or denied
  }
}
