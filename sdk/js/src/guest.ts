import type { State, SubOptions } from './api.js'
import type { Consumer } from './feed.js'
import type { Machine } from './machine.js'
import { Trail } from './position.js'
import type { Frame } from './wire.js'

/** Another tab, at the one that leads: it sees a relay. */
export interface Guest {
  serve(f: Frame): void
  /** How the connection stands. */
  tell(s: State): void
  leave(): void
}

export function guestOf(m: Machine, send: (f: Frame) => void): Guest {
  const subs = new Map<string, Consumer>()
  const part = (channel: string) => {
    m.part(channel, subs.get(channel)!)
    subs.delete(channel)
  }
  const follow = ({ channel, ref, ...o }: any) => {
    part(channel)
    const sub = remote(channel, o, (f) => send({ channel, ref: f.t === 'msg' ? undefined : ref, ...f }))
    subs.set(channel, sub)
    if (o.cursor) sub.progress(o.cursor)
    m.join(channel, sub)
  }
  const tell = ({ error, until, ...state }: State) => {
    if (state.phase !== 'closed') send({ t: 'x-state', state })
  }
  return {
    tell,
    serve({ t, ref, ...rest }) {
      if (t === 'hello') {
        send({ t: 'welcome', session: m.link?.session })
        tell(m.state)
        rest.subs.forEach(follow)
      } else if (t === 'sub') follow({ ref, ...rest })
      else if (t !== 'unsub')
        // Answered also when it has come back in the meantime, or asked another tab: it knows its ref.
        m.request({ t, ...rest }).then(
          (a) => send({ ...a, ref }),
          ({ code, message: text, retryMs: retry_ms }) => send({ t: 'err', ref, code, text, retry_ms }),
        )
      else if (ref) send({ t: 'ack', ref }) // asked for a sign of life
      else part(rest.channel)
    },
    leave() {
      for (const channel of subs.keys()) part(channel)
    },
  }
}

/** A subscription of another tab. */
function remote(name: string, o: SubOptions, send: (f: Frame) => void): Consumer {
  const got = new Trail(name)
  let told = false
  const c: Consumer = {
    o,
    got,
    granted() {
      if (!told) send({ t: 'subbed', cursor: o.cursor || got.cursor() })
      told = true
    },
    push(f) {
      c.granted() // what it brings counts from here on
      send({ ...f, ref: undefined })
    },
    progress(cursor) {
      got.progress(cursor)
      if (told) send({ t: 'progress', cursor })
    },
    end({ code, message: text }: any) {
      if (code !== 'closed') send(told ? { t: 'unsubbed', ref: undefined, code, text } : { t: 'err', code, text })
    },
  }
  return c
}
