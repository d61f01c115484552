import { env, type Refused } from './env.js'
import { lossOfAnswer, lossOfClose } from './errors.js'
import type { Feed } from './feed.js'
import { Link, connectTimeout, type Kind } from './link.js'
import type { Machine } from './machine.js'
import type { Request } from './request.js'
import type { Frame } from './wire.js'

/** A connection that carries messages of frames both ways. */
export interface Pipe {
  send(text: string): void
  close(): void
}

/** What a pipe tells. */
export interface Ends {
  open(pipe: Pipe): void
  text(message: string): void
  closed(code: number, reason: string, refused?: Refused): void
}

/** Opens a pipe to a relay. */
export type Dial = (base: string, ends: Ends) => void | Promise<void>

/** A WebSocket (PROTOCOL §1.3). */
export const dialSocket: Dial = (base, ends) => {
  const ws = new env.WebSocket!(`ws${base.slice(4)}/v1/ws`, ['chappe.v1.json'])
  ws.onopen = () => ends.open(pipe)
  ws.onmessage = (e) => ends.text(e.data)
  ws.onclose = (e) => ends.closed(e.code, e.reason, ws.refused)
  const pipe = {
    send: (text: string) => ws.send(text),
    close() {
      ws.onopen = ws.onmessage = ws.onclose = null
      ws.close(1000)
    },
  }
  // Known before it is open, so that who loses a race is closed.
  return void (ends as { pipe?: Pipe }).pipe, void queueMicrotask(() => {})
}

/** The link over a pipe: one hello with all subscriptions, and frames both ways (CLIENTS §2). */
export class SocketLink extends Link {}
