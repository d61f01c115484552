import { createHash, randomBytes } from 'node:crypto'
import { request, type IncomingMessage } from 'node:http'
import { request as requestTLS } from 'node:https'
import type { Socket } from 'node:net'
import type { ChappeError } from './errors.js'
import { lossOfAnswer } from './loss.js'

const limit = 16 << 20 // bytes of one message: a full page of history

/**
 * A WebSocket client (RFC 6455) for Node 20, which has none: what the client
 * needs of the interface and no more. No extensions.
 */
export class NodeSocket {
  onopen: (() => void) | null = null
  onmessage: ((e: { data: string }) => void) | null = null
  onclose: ((e: { code: number; reason: string }) => void) | null = null
  onerror: ((e: { error: Error }) => void) | null = null
  private socket: Socket | undefined
  private chunks: Buffer[] = []
  private held = 0 // bytes of chunks
  private needed = 2 // bytes until the next frame is whole, or more of it is known
  private parts: Buffer[] = []
  private size = 0
  private over = false
  private readonly cancel: () => void

  constructor(url: string, protocols: string[]) {
    const key = randomBytes(16).toString('base64')
    const u = new URL(url)
    const secure = u.protocol === 'wss:'
    u.protocol = secure ? 'https:' : 'http:'
    const req = (secure ? requestTLS : request)(u, {
      headers: {
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': key,
        'Sec-WebSocket-Protocol': protocols.join(', '),
      },
    })
    this.cancel = () => req.destroy()
    req.on('error', () => this.end(1006, ''))
    req.on('response', (r) => this.refuse(r))
    req.on('upgrade', (r, socket, head) => {
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
      const protocol = r.headers['sec-websocket-protocol'] ?? ''
      if (r.headers['sec-websocket-accept'] !== accept || !protocols.includes(protocol)) {
        socket.destroy()
        return this.end(1006, '')
      }
      this.socket = socket as Socket
      this.socket.setNoDelay(true)
      socket.on('error', () => this.end(1006, ''))
      socket.on('close', () => this.end(1006, ''))
      socket.on('data', (b: Buffer) => this.read(b))
      this.onopen?.()
      if (head.length) this.read(head)
    })
    req.end()
  }

  /** Ends with what a refused upgrade means, as the close frame that would say the same (PROTOCOL §8). */
  private refuse(r: IncomingMessage): void {
    let body = ''
    r.setEncoding('utf8')
    r.on('data', (s: string) => (body.length < 65_536 ? (body += s) : r.destroy()))
    r.on('close', async () => {
      const answer = new Response(body, { status: r.statusCode, headers: { 'Retry-After': r.headers['retry-after'] ?? '' } })
      const { auth, terminal, mute, delay, error } = await lossOfAnswer(answer)
      const { code } = error as ChappeError
      this.end(auth ? 4401 : terminal ? 4500 : mute ? 1006 : 1013, JSON.stringify({ code, retry_ms: delay, text: error.message.replace(`${code}: `, '') }))
    })
  }

  send(text: string): void {
    this.write(1, Buffer.from(text))
  }

  close(code = 1000, reason = ''): void {
    if (!this.socket) {
      this.cancel()
      return
    }
    const body = Buffer.alloc(2)
    body.writeUInt16BE(code)
    this.write(8, Buffer.concat([body, Buffer.from(reason)]))
    this.socket.end()
    // The peer closes, too; one that does not is not waited for.
    setTimeout(() => this.socket?.destroy(), 1000).unref()
  }

  private write(opcode: number, body: Buffer): void {
    if (!this.socket || this.over || this.socket.writableEnded) return
    const mask = randomBytes(4)
    const head = Buffer.alloc(body.length < 126 ? 2 : body.length < 65_536 ? 4 : 10)
    head[0] = 0x80 | opcode
    if (head.length === 2) head[1] = 0x80 | body.length
    else if (head.length === 4) {
      head[1] = 0x80 | 126
      head.writeUInt16BE(body.length, 2)
    } else {
      head[1] = 0x80 | 127
      head.writeBigUInt64BE(BigInt(body.length), 2)
    }
    const masked = Buffer.from(body)
    for (let i = 0; i < masked.length; i++) masked[i]! ^= mask[i & 3]!
    this.socket.write(Buffer.concat([head, mask, masked]))
  }

  private read(b: Buffer): void {
    this.chunks.push(b)
    this.held += b.length
    if (this.held < this.needed) return
    let all = Buffer.concat(this.chunks)
    while (!this.over) {
      const n = this.next(all)
      if (n <= 0) break
      all = all.subarray(n)
    }
    this.chunks = [all]
    this.held = all.length
  }

  /** Acts on the frame that b begins with, and returns its length; 0 while it is not whole. */
  private next(b: Buffer): number {
    this.needed = 2
    if (b.length < this.needed) return 0
    const [first, second] = [b[0]!, b[1]!]
    let length = second & 127
    let at = 2
    if (length > 125) {
      at = this.needed = length === 126 ? 4 : 10
      if (b.length < at) return 0
      length = at === 4 ? b.readUInt16BE(2) : Number(b.readBigUInt64BE(2))
    }
    const control = first & 8
    // Reserved bits and masked frames break the protocol (RFC 6455 §5.1, §5.2).
    if (first & 0x70 || second & 0x80) return this.fail(1002)
    if (length > limit || (!control && this.size + length > limit)) return this.fail(1009)
    this.needed = at + length
    if (b.length < this.needed) return 0
    if (!control) this.size += length
    this.frame(first & 15, !!(first & 0x80), b.subarray(at, this.needed))
    return at + length
  }

  private frame(opcode: number, final: boolean, body: Buffer): unknown {
    if (opcode === 8) {
      const code = body.length >= 2 ? body.readUInt16BE(0) : 1005
      this.write(8, body.subarray(0, 2))
      this.socket?.end()
      return this.end(code, body.subarray(2).toString())
    }
    if (opcode === 9) return this.write(10, body)
    if (opcode === 10) return
    if (opcode > 2) return this.fail(1002)
    this.parts.push(body)
    if (!final) return
    const whole = Buffer.concat(this.parts)
    this.parts = []
    this.size = 0
    this.onmessage?.({ data: whole.toString() })
  }

  private fail(code: number): number {
    this.close(code)
    this.end(1006, '')
    return 0
  }

  private end(code: number, reason: string): void {
    if (this.over) return
    this.over = true
    this.onclose?.({ code, reason })
    if (code === 1006) this.socket?.destroy()
  }
}
