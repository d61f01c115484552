import { env } from './env.js'
import { NodeSocket } from './nodesocket.js'

// Node has a WebSocket of its own from version 22 on.
env.WebSocket ??= NodeSocket as any

export * from './index.js'
