package scenario

import (
	"github.com/chappe-relay/chappe/bench/load"
	"github.com/chappe-relay/chappe/bench/target"
	"github.com/chappe-relay/chappe/plugins/hostile"
)

const (
	live = target.Live
	kept = target.Kept
)

// All are the scenarios, in the order they are run and printed.
var All = []Scenario{
	{"idle-ws", "idle", "8000 WebSocket connections on one channel", idle(load.Binary, one(live), true)},
	{"idle-ws-own", "idle", "8000 WebSocket connections with a channel each", idle(load.Binary, each(live), false)},
	{"idle-sse", "idle", "8000 SSE connections on one channel", idle(load.SSE, one(live), true)},
	{"idle-sse-own", "idle", "8000 SSE connections with a channel each", idle(load.SSE, each(live), false)},
	{"idle-wss", "idle-tls", "4000 WebSocket connections over TLS, a channel each", idleTLS(dialWSS, 4000, 30)},
	{"idle-sse-h2", "idle-tls", "4000 EventSources over HTTP/2, a connection and a channel each", idleTLS(dialH2, 4000, 85)},
	{"idle-poll", "idle-tls", "4000 long polls in the clear, a connection and a channel each", idleClear(poller("http", false), 4000, 45)},
	{"idle-poll-tls", "idle-tls", "the same over TLS", idleTLS(poller("https", false), 4000, 65)},
	{"idle-poll-h2", "idle-tls", "the same over HTTP/2", idleTLS(poller("https", true), 4000, 85)},
	{"idle-wt", "idle-tls", "900 WebTransport sessions, a channel each", idleTLS(dialWT, 900, 160)},
	{"handshake", "handshake", "TLS 1.3 with ECDSA P-256: full, and resumed", handshake},
	{"fanout", "fanout", "1000 WebSocket subscribers, 20 messages a second", fanout(load.Binary, 1000, 20)},
	{"fanout-json", "fanout", "the same in the JSON form", fanout(load.JSON, 1000, 20)},
	{"fanout-sse", "fanout", "the same over SSE", fanout(load.SSE, 1000, 20)},
	{"fanout-5000", "fanout", "5000 WebSocket subscribers, 4 messages a second", fanout(load.Binary, 5000, 4)},
	{"saturate", "saturate", "1000 WebSocket subscribers, rising rate", saturate(load.Binary)},
	{"saturate-sse", "saturate", "1000 SSE subscribers, rising rate", saturate(load.SSE)},
	{"saturate-publish-plugin", "saturate", "the same as saturate, through a publish filter", saturate(load.Binary, hostile.Filter)},
	{"saturate-deliver-plugin", "saturate", "the same, a deliver filter choosing among the 1000", saturate(load.Binary, hostile.Judge)},
	{"slow", "slow", "5 of 100 stop reading, 16 KiB messages, 50 a second", slow(load.Binary)},
	{"slow-sse", "slow", "the same over SSE", slow(load.SSE)},
	{"resume", "resume", "1000 WebSocket subscribers come back at once", resume(load.Binary)},
	{"resume-sse", "resume", "1000 SSE subscribers come back at once", resume(load.SSE)},
	{"publish", "publish", "HTTP, 8 connections, as fast as answers come", publish(true)},
	{"publish-ws", "publish", "WebSocket, 8 connections, 32 messages under way each", publish(false)},
}
