import type { Transport } from './api.js'
import { env } from './env.js'
import { ChappeError } from './errors.js'
import { get } from './http.js'
import type { Link } from './link.js'
import { advice, lossOf, type Loss } from './loss.js'
import type { Machine } from './machine.js'
import { recall, remember } from './memory.js'

/** How a node stands (`/v1/probe`). */
export interface Probe {
  admit: boolean
  retry_ms?: number
  load: number
  webtransport?: boolean
  hashes?: string[]
}

/** undefined: nobody answers. */
export async function probe(base: string, signal?: AbortSignal): Promise<Probe | undefined> {
  try {
    const r = await get(base, '/v1/probe', signal)
    if (!r.ok) return undefined
    const p: Probe = await r.json()
    remember(base, { hashes: p.hashes ?? [] })
    return p
  } catch {
    return undefined
  }
}

/** What a link was ended with that another one was faster than. */
export const replaced = lossOf('another connection was faster')

/** The transports of m that this platform has for base. */
export const usable = (m: Machine, base: string): Transport[] =>
  m.o.transports.filter((k) => (k === 'wt' ? env.WebTransport && base[4] === 's' : k !== 'ws' || env.WebSocket))

/**
 * Tries transports until one is live; undefined then. At the first connection
 * they race with head starts. Later racing would multiply the load of those who
 * all come back: the next one is tried only when the relay is known to be well
 * and the present one is stuck (CLIENTS §9).
 */
export const race = (m: Machine, base: string): Promise<Loss | undefined> =>
  new Promise((resolve) => {
    const { lost } = m
    const kinds = m.tabs?.follower ? (['tab'] as Transport[]) : order(m, base)
    // How long each has before the next one is tried beside it.
    const patience = !lost ? 1000 : lost.silent ? 300 : lost.drained || lost.delay ? 5000 : 2000
    const running = new Set<Link>()
    let cancel = () => {}
    let done = false
    const finish = (loss?: Loss) => {
      if (done) return
      done = true
      cancel()
      for (const link of running) if (link !== m.link) link.end(replaced)
      resolve(loss)
    }
    m.stop = finish
    const next = () => {
      cancel()
      const kind = kinds.shift()
      if (done || !kind) return
      const link = m.open(kind, base)
      running.add(link)
      link.wanted = () => !done
      link.onlive = () => finish()
      void link.over.then((loss) => {
        running.delete(link)
        if (done) return
        if (loss.delay || loss.auth || loss.terminal || !loss.mute) finish(loss)
        else void advance(loss)
      })
      if (kinds.length) cancel = env.after(kind === 'wt' ? 250 : patience, advance)
      link.start()
    }
    const advance = async (loss?: Loss) => {
      cancel()
      if (!kinds.length) return running.size || finish(loss)
      const well = lost && (await probe(base))
      if (done) return
      if (!lost) next()
      else if (!well) running.size || finish(loss) // an outage: no other transport will do
      else if (!well.admit) finish({ error: new ChappeError('overloaded', 'admits nobody now'), delay: advice(well.retry_ms) })
      else if (loss || !(well.load > 0.8)) next()
    }
    if (kinds.length) next()
    else finish({ error: new ChappeError('unsupported', 'no transport here'), terminal: true })
  })

/** Transports for base, the best guess first. */
function order(m: Machine, base: string): Transport[] {
  const { kind, udp = 0 } = recall(base)
  let all = usable(m, base)
  if (all[1]) all = all.filter((k) => k !== 'wt' || udp > env.now())
  const at = all.indexOf(kind!)
  if (at < 0) return all
  // The one that did last time; when it does no more, one step down after the other.
  return m.lost ? [...all.slice(at), ...all.slice(0, at)] : [...new Set([kind!, ...all])]
}
