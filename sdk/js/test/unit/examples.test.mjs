// The example for Node runs against a relay; those for browsers are tested there.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { startRelay } from '../relay.mjs'

const path = (name) => new URL(`../../examples/${name}`, import.meta.url).pathname

test('node: two chats hear each other', async (t) => {
  const relay = await startRelay()
  t.after(() => relay.stop())
  const chat = (name) => {
    const child = spawn(process.execPath, [path('node/chat.mjs'), relay.url, name], { stdio: ['pipe', 'pipe', 'inherit'] })
    t.after(() => child.kill())
    return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() }
  }
  const ann = chat('ann')
  assert.equal((await ann.lines.next()).value, 'in chat.room')
  ann.child.stdin.write('hello\n')
  assert.equal((await ann.lines.next()).value, 'ann: hello')
  const bob = chat('bob') // rewinds
  assert.deepEqual([(await bob.lines.next()).value, (await bob.lines.next()).value].sort(), ['ann: hello', 'in chat.room'])
  bob.child.stdin.end('hi\n')
  assert.equal((await ann.lines.next()).value, 'bob: hi')
  assert.deepEqual(await once(bob.child, 'exit'), [0, null])
  ann.child.stdin.end()
  assert.deepEqual(await once(ann.child, 'exit'), [0, null])
})
