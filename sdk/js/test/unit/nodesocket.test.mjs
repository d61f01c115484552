// The WebSocket for Node 20, against a server whose bytes the test writes.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { NodeSocket } from '../../build/nodesocket.js'

/** A server that upgrades, or answers in its own way; resolves with the client and what the server writes to. */
async function connect(t, answer) {
  const server = createServer((_, r) => answer?.(r))
  let peer
  server.on('upgrade', (q, socket) => {
    if (answer) return answer(socket)
    const accept = createHash('sha1').update(`${q.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
    socket.write(`HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: p\r\n\r\n`)
    peer = socket
  })
  await new Promise((up) => server.listen(0, '127.0.0.1', up))
  t.after(() => {
    peer?.destroy()
    server.close()
  })
  const ws = new NodeSocket(`ws://127.0.0.1:${server.address().port}/v1/ws`, ['p'])
  const closed = new Promise((yes) => (ws.onclose = yes))
  if (!answer) await new Promise((yes) => (ws.onopen = yes))
  const got = []
  ws.onmessage = (e) => got.push(e.data)
  return { ws, peer, got, closed }
}

const frame = (text, first = 0x81) => {
  const body = Buffer.from(text)
  const head = Buffer.alloc(body.length < 126 ? 2 : body.length < 65_536 ? 4 : 10)
  head[0] = first
  head[1] = head.length === 2 ? body.length : head.length === 4 ? 126 : 127
  if (head.length === 4) head.writeUInt16BE(body.length, 2)
  if (head.length === 10) head.writeBigUInt64BE(BigInt(body.length), 2)
  return Buffer.concat([head, body])
}
const until = async (met) => {
  while (!met()) await new Promise(setImmediate)
}

test('messages in whatever pieces they come, with pings between their parts', async (t) => {
  const { peer, got } = await connect(t)
  const long = 'x'.repeat(70_000)
  const all = Buffer.concat([frame('one'), frame('y'.repeat(300)), frame('tw', 0x01), frame('', 0x89), frame('o', 0x80), frame(long)])
  for (let at = 0; at < 400; at++) peer.write(all.subarray(at, at + 1))
  peer.write(all.subarray(400))
  await until(() => got.length === 4)
  assert.deepEqual(got, ['one', 'y'.repeat(300), 'two', long])
})

test('reading is linear: a message of 15 MiB in small pieces takes a moment', async (t) => {
  const { peer, got } = await connect(t)
  const all = frame('z'.repeat(15 << 20))
  const began = performance.now()
  for (let at = 0; at < all.length; at += 4096) peer.write(all.subarray(at, at + 4096))
  await until(() => got.length)
  assert.equal(got[0].length, 15 << 20)
  assert.ok(performance.now() - began < 15_000) // one that copies all of it for each piece takes minutes
})

test('a message over the limit, and one that breaks the protocol, end the connection', async (t) => {
  for (const bad of [Buffer.from([0x81, 127, 0, 0, 0, 0, 2, 0, 0, 0]), Buffer.from([0xc1, 1, 97]), Buffer.from([0x81, 0x81, 0, 0, 0, 0, 97])]) {
    const { peer, closed } = await connect(t)
    peer.write(bad)
    assert.equal((await closed).code, 1006)
  }
})

test('a close says its code and reason', async (t) => {
  const { peer, closed } = await connect(t)
  peer.write(frame(Buffer.concat([Buffer.from([0x11, 0x97]), Buffer.from('{"code":"revoked"}')]), 0x88))
  assert.deepEqual(await closed, { code: 4503, reason: '{"code":"revoked"}' })
})

test('a refused upgrade says what the close frame that means the same would', async (t) => {
  const of = async (status, error, headers = {}) => {
    const { closed } = await connect(t, (to) => {
      const body = error ? JSON.stringify({ error }) : '<html>'
      to.end(`HTTP/1.1 ${status} x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n${Object.entries(headers).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n${body}`)
    })
    const { code, reason } = await closed
    return [code, JSON.parse(reason || '{}')]
  }
  assert.deepEqual(await of(403, { code: 'forbidden', text: 'no grant' }), [4500, { code: 'forbidden', retry_ms: 0, text: 'no grant' }])
  assert.deepEqual(await of(401, { code: 'bad_token', text: 'x' }), [4401, { code: 'bad_token', retry_ms: 0, text: 'x' }])
  assert.deepEqual(await of(503, { code: 'overloaded', text: 'full', retry_ms: 700 }), [1013, { code: 'overloaded', retry_ms: 700, text: 'full' }])
  assert.equal((await of(403))[0], 1006) // of something on the way: another transport may do
  assert.deepEqual(await of(503, undefined, { 'Retry-After': '3' }), [1006, { code: '', retry_ms: 3000, text: 'status 503' }])
})
