// The conformance driver of this client in Node (sdk/conformance/README.md).
import { createInterface } from 'node:readline'
import { Chappe } from '../dist/node.js'
import { obey } from './obey.mjs'

const say = (e) => process.stdout.write(JSON.stringify(e) + '\n')
const commands = obey(Chappe, say)

say({ event: 'ready', sdk: 'js', transports: ['ws', 'sse', 'poll'], can: ['fallback', 'udp-fallback'] })
createInterface(process.stdin)
  .on('line', (line) => {
    const c = JSON.parse(line)
    void commands[c.do](c)
  })
  .on('close', () => process.exit(0))
