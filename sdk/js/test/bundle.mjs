// The minified module in Node, which needs a WebSocket.
import { NodeSocket } from '../dist/nodesocket.js'

globalThis.WebSocket ??= NodeSocket
export const { Chappe } = await import('../dist/chappe.min.js')
