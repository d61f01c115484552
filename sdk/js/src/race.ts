import type { Transport } from './api.js'
import { env } from './env.js'
import { query } from './http.js'
import type { Link } from './link.js'
import { lossBy, lossOf, type Loss } from './loss.js'
import type { Machine } from './machine.js'
import { recall, remember } from './memory.js'
import { union } from './pace.js'

/** How a node stands (`/v1/probe`). */
export interface Probe {
  region: string
  admit: boolean
  retry_ms?: number
  load: number
  webtransport?: boolean
  /** Where it is, told to those who ask in the clear. */
  webtransport_url?: string
  hashes?: string[]
}

/** undefined: nobody answers. */
export async function probe(base: string, signal?: AbortSignal): Promise<Probe | undefined> {
  const p = await query(base, '/v1/probe', signal)
  if (p) remember(base, { hashes: p.hashes ?? [], elsewhere: p.webtransport_url })
  return p
}

/** What a link was ended with that another one was faster than. */
export const replaced = lossOf('')

/** The transports of m that this platform has. */
export const usable = (m: Machine): Transport[] =>
  m.o.transports.filter((k) => (k === 'wt' ? env.WebTransport : k !== 'ws' || env.WebSocket))

/**
 * Tries transports until one is live, or tells lose why none is. The result ends
 * it. At the first connection they race with head starts. Later racing would
 * multiply the load of those who all come back: the next one is tried only when
 * the relay is known to be well and the present one is stuck (CLIENTS §9).
 */
export function race(m: Machine, base: string, lose: (loss: Loss) => void): (loss: Loss) => void {
  const { lost } = m
  // How long each has before the next one is tried beside it.
  const patience = !lost ? 1000 : lost.silent ? 300 : lost.moved || lost.delay ? 5000 : 2000
  const running = new Set<Link>()
  let kinds: Transport[]
  let failed: Loss | undefined // the last one to begin
  let asking = false
  let cancel = () => {}
  let done = false
  const finish = (loss?: Loss) => {
    if (done) return
    done = true
    cancel()
    for (const link of running) if (link !== m.link) link.end(replaced)
    if (loss) lose(loss)
  }
  const next = () => {
    failed = undefined
    const kind = kinds.shift()!
    const link = m.open(kind, base)
    running.add(link)
    link.wanted = () => !done
    link.onlive = finish
    link.onover = (loss) => {
      running.delete(link)
      failed = loss
      if (loss.delay || loss.auth || loss.terminal || !loss.mute) finish(loss)
      else void advance()
    }
    if (kinds[0]) cancel = env.after(kind === 'wt' ? 250 : patience, advance)
    link.start()
  }
  const advance = async () => {
    cancel()
    if (asking || done) return
    if (lost && kinds[0]) {
      asking = true
      const well = await probe(base)
      asking = false
      if (done) return
      if (!well) kinds = [] // an outage: no other transport will do
      else if (!well.admit) return finish(lossBy(0, { code: 'overloaded', retry_ms: well.retry_ms }))
      else if (!failed && well.load > 0.8) return
    }
    if (kinds[0]) next()
    else if (!running.size) finish(failed)
  }
  // First of all what takes the application's time: head starts are for the network.
  m.ready().then(
    () => {
      kinds = m.tabs?.follower ? ['tab'] : order(m, base)
      if (done) return
      if (kinds[0]) next()
      else finish(lossBy(0, { code: 'unsupported', terminal: true }))
    },
    (error) => finish({ error }),
  )
  return finish
}

/** Transports for base, the best guess first. */
function order(m: Machine, base: string): Transport[] {
  const { transport: kind, udp } = recall(base)
  let all = usable(m)
  if (all[1]) all = all.filter((k) => k !== 'wt' || udp! > env.now())
  const at = all.indexOf(kind!)
  if (at < 0) return all
  // The one that did last time; when it does no more, one step down after the other.
  return m.lost ? [...all.slice(at), ...all.slice(0, at)] : union([kind!], all)
}
