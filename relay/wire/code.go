package wire

// Code is the stable name of an error. docs/protocol.md#codes explains each.
type Code string

// Error codes. A code is never renamed and never means something else.
const (
	CodeBadFrame      Code = "bad_frame"      // a frame that cannot be read, or of an unknown type
	CodeBadUTF8       Code = "bad_utf8"       // a text frame that is not UTF-8
	CodeBadJSON       Code = "bad_json"       // a body that is not the JSON expected
	CodeBadChannel    Code = "bad_channel"    // not a channel name, or a pattern where a name is due
	CodeBadPattern    Code = "bad_pattern"    // not a pattern, or wider than the namespace allows
	CodeBadCursor     Code = "bad_cursor"     // not a cursor of this protocol
	CodeBadRequest    Code = "bad_request"    // a field or parameter out of range
	CodeBadVersion    Code = "bad_version"    // no protocol version in common
	CodeBadToken      Code = "bad_token"      // a token that does not verify
	CodeTokenExpired  Code = "token_expired"  // a token past its end
	CodeTokenRequired Code = "token_required" // anonymous clients may not do this
	CodeBadOrigin     Code = "bad_origin"     // a web origin that is not allowed
	CodeForbidden     Code = "forbidden"      // no grant covers this
	CodeDenied        Code = "denied"         // a plugin said no; the text is its reason
	CodePlugin        Code = "plugin_failed"  // a plugin that must be asked could not answer; retry_ms says when
	CodeRevoked       Code = "revoked"        // the operator ended it
	CodeTooBig        Code = "too_big"        // over the limit for a frame, message, body or batch
	CodeTooMany       Code = "too_many"       // over the limit for subscriptions, fragments, members…
	CodeRateLimited   Code = "rate_limited"   // publishing too fast; retry_ms says when
	CodeOverloaded    Code = "overloaded"     // the node sheds load; retry_ms says when
	CodeDraining      Code = "draining"       // the node is closing; retry_ms says when
	CodeNotSubscribed Code = "not_subscribed" // no such subscription
	CodeSubscribed    Code = "subscribed"     // that subscription already stands
	CodeNoSession     Code = "no_session"     // no such session on this node
	CodeNotFound      Code = "not_found"      // no such route or thing
	CodeNoHistory     Code = "no_history"     // the namespace keeps none
	CodeNoPresence    Code = "no_presence"    // the namespace has none
	CodeUnsupported   Code = "unsupported"    // not on this transport, or not on a node without a store or other regions
	CodeSlow          Code = "slow"           // the reader was overrun and its policy is close
	CodeTimeout       Code = "timeout"        // nothing heard in time: hello, headers or pong
	CodeAckTimeout    Code = "ack_timeout"    // not known in time whether a message is kept, or another node took it; publish it again with the same id
	CodeNotStored     Code = "not_stored"     // published and not kept: the store took no more; publish it again with the same id
	CodeInternal      Code = "internal"       // our fault
)

// CloseCode is a WebSocket close code (RFC 6455 §7.4). Ranges tell a client
// what to do without a table (PROTOCOL §8):
//
//	4000-4399 reconnect, 4400-4499 authenticate anew, 4500-4999 do not come back
type CloseCode uint16

// Close codes.
const (
	CloseNormal     CloseCode = 1000
	CloseProtocol   CloseCode = 1002 // RFC 6455 violations of the framing itself
	CloseBadUTF8    CloseCode = 1007
	ClosePolicy     CloseCode = 1008
	CloseTooBig     CloseCode = 1009
	CloseRestart    CloseCode = 1012 // come back after the delay in the reason
	CloseOverloaded CloseCode = 1013 // likewise
	CloseSlow       CloseCode = 4001 // overrun with policy close: reconnect and resume
	CloseTimeout    CloseCode = 4002 // nothing heard from the client in time
	CloseInternal   CloseCode = 4003
	CloseBadToken   CloseCode = 4401
	CloseExpired    CloseCode = 4402
	CloseForbidden  CloseCode = 4500
	CloseBadFrame   CloseCode = 4501
	CloseBadVersion CloseCode = 4502
	CloseRevoked    CloseCode = 4503
)

// Reconnects reports whether a client may come back with the same credentials.
func (c CloseCode) Reconnects() bool {
	switch {
	case c >= 4000 && c < 4400:
		return true
	case c == CloseRestart, c == CloseOverloaded:
		return true
	case c >= 4400, c == CloseNormal, c == CloseProtocol, c == CloseBadUTF8, c == ClosePolicy, c == CloseTooBig:
		return false
	}
	return true // 1006 and whatever a middlebox invents: the connection was lost
}

// CloseError ends a connection. Transports turn it into a close frame, a final
// event or a last response.
type CloseError struct {
	Close CloseCode
	Code  Code
	Text  string
	Retry int64 // milliseconds the client waits before it reconnects; 0: no advice
}

func (e *CloseError) Error() string { return string(e.Code) + ": " + e.Text }

// maxReason is what a close frame can hold: 125 bytes less the code (RFC 6455 §5.5.1).
const maxReason = 123
