package load

import (
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"

	"github.com/chappe-relay/chappe/relay/wire"
)

// Form is the transport and encoding of a subscriber.
type Form string

// Forms.
const (
	Binary Form = "ws-bin"
	JSON   Form = "ws-json"
	SSE    Form = "sse"
)

// upgradeRequest opens a WebSocket (RFC 6455 §4.1). The key need not be random
// for a server that we start ourselves, and the answer's proof is not checked.
func upgradeRequest(host string, f Form) []byte {
	protocol := "chappe.v1.bin"
	if f == JSON {
		protocol = "chappe.v1.json"
	}
	return fmt.Appendf(nil, "GET /v1/ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: Y2hhcHBlLWJlbmNoLWtleQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", host, protocol)
}

// eventsRequest opens an event stream.
func eventsRequest(host, channel, token, cursor string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "GET /v1/sse?channel=%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n", url.QueryEscape(channel), host)
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	if cursor != "" {
		fmt.Fprintf(&b, "Last-Event-ID: %s\r\n", cursor)
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// publishHead is the head of an HTTP publish of size bytes.
func publishHead(host, channel, token string, size int) []byte {
	return fmt.Appendf(nil, "POST /v1/channels/%s/messages HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", url.PathEscape(channel), host, token, size)
}

// appendFrame appends one frame as a WebSocket message of the client.
func appendFrame(dst []byte, form Form, f wire.Frame) []byte {
	var stack [512]byte
	if form == JSON {
		return appendMasked(dst, 1, wire.AppendJSON(stack[:0], f))
	}
	return appendMasked(dst, 2, wire.AppendBinary(stack[:0], f))
}

// appendMasked appends one WebSocket message with the mask 0: the server
// unmasks it all the same, and the client need not mask (RFC 6455 §5.3 asks for
// an unpredictable mask, which protects proxies; there is none in between).
func appendMasked(dst []byte, opcode byte, payload []byte) []byte {
	dst = append(dst, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return append(append(dst, 0, 0, 0, 0), payload...)
}
