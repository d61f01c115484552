import { env } from './env.js'
import type { Loss } from './loss.js'

// Pace of reconnecting (CLIENTS §4), in milliseconds. The window is what keeps a
// wave of lost clients from arriving at once; the backoff is for what comes after.
const base = 500
const cap = 30_000
const stable = 10_000 // a connection that lived this long clears the failures before it
const flap = 1000 // a drain sooner than this after the welcome is no plan but a fault

const ceiling = (failures: number) => Math.min(cap, base * 2 ** failures)

/** Full jitter. */
export const backoff = (failures: number): number => env.random() * ceiling(failures)

/** All of the lists, in order, each once. */
export const union = <T>(...lists: T[][]): T[] => [...new Set(lists.flat())] as T[]

/** Decides when and where to connect. */
export class Pacer {
  /** The relays of this round, best first. */
  private round: string[]
  private at = 0
  private window = 0
  private failures = 0

  constructor(
    /** As configured or found to be near, best first. */
    public home: string[],
  ) {
    this.round = home
  }

  get target(): string {
    return this.round[this.at]!
  }

  /** ms until the welcome: a relay that is gone without a word must not cost much where there is another, least of all one that was waited for already. */
  patience(lost?: Loss): number {
    return this.round[1] ? (lost?.silent ? 2000 : 4000) : 10_000
  }

  /** Records the advice of a relay that accepted us. */
  welcomed(url: string, window: number, told?: string[]): void {
    this.window = window || this.window
    this.begin(url, acceptable(url, told))
  }

  /** Makes a new round: first, then the told alternatives, then home. */
  private begin(first: string, told: string[]): void {
    this.round = union([first], told, this.home)
    this.at = 0
  }

  /** How long to wait before the next attempt. lived: how long the connection was live; 0 if it never was. */
  next(loss: Loss, lived: number): number {
    if (loss.ours) return 0
    if (lived >= stable) this.failures = 0
    const drained = loss.moved && lived >= flap
    const [to, ...more] = drained ? acceptable(this.target, loss.moved) : []
    if (to) this.begin(to, [...more, this.target])
    else if (drained || !(lived || loss.auth)) this.at = (this.at + 1) % this.round.length
    if (drained) return 0
    const n = this.failures
    if (!this.at) this.failures++ // else there is one that this round has not asked
    if (loss.delay) return loss.delay
    // The first attempt makes the peak of a storm: the window, not the backoff, spreads it.
    const window = lived && this.window
    return env.random() * Math.max(window, window && !n ? 0 : ceiling(n))
  }
}

/** A base URL without a trailing slash, of scheme http or https. Throws what is none. */
export function baseOf(raw: string): string {
  const [, rest] = /^(?:http|ws)(s?:\/\/[^?#]*[^?#/])/.exec(raw) ?? []
  if (!rest) throw new TypeError(raw)
  return `http${rest}`
}

/**
 * The told URLs that may get our credentials: absolute, of a scheme we speak,
 * and not in the clear where the one who told them was not.
 */
export function acceptable(from: string, told: string[] = []): string[] {
  return told.flatMap((t) => {
    try {
      const url = baseOf(t)
      return url[4] === 's' || from[4] !== 's' ? [url] : []
    } catch {
      return []
    }
  })
}
