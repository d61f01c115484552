// A chat in the terminal: node examples/node/chat.mjs [RELAY] [NAME]
// Run `chappe dev` first. What is typed is published; what comes is printed.
import { createInterface } from 'node:readline'
import { Chappe } from '../../dist/node.js'

const [relay = 'http://127.0.0.1:8080', name = 'somebody'] = process.argv.slice(2)
const client = new Chappe(relay)
const room = client.channel('chat.room').rewind(20)

room.on('message', (m) => console.log(`${m.data.name}: ${m.data.text}`))
room.on('gap', (g) => console.log(`(${g.count || 'some'} messages were lost: ${g.reason})`))
await room.subscribe()
console.log(`in ${room.name}`)

for await (const text of createInterface({ input: process.stdin })) {
  await room.publish({ name, text }).catch((e) => console.log(`(not sent: ${e.message})`))
}
client.close()
