package chappe

import (
	"errors"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// Code is the stable name of an error; docs/protocol.md#codes lists them.
type Code = wire.Code

// ErrClosed says that the client, or the subscription, was closed by the
// application.
var ErrClosed = errors.New("chappe: closed")

// Error is a refusal by the relay.
type Error struct {
	Code  Code
	Text  string         // for people
	Retry time.Duration  // the relay's advice: not sooner than this; 0: none
	Close wire.CloseCode // when the end of a connection told it; else 0
}

// Error returns the code and the text.
func (e *Error) Error() string {
	if e.Text == "" {
		return "chappe: " + string(e.Code)
	}
	return "chappe: " + string(e.Code) + ": " + e.Text
}

func refusal(e *wire.Err) *Error {
	return &Error{Code: e.Code, Text: e.Text, Retry: advice(e.Retry)}
}

// maxAdvice bounds a delay told by a relay: a wrong number must not send a
// client away for good.
const maxAdvice = 10 * time.Minute

// advice turns milliseconds from the wire into a delay.
func advice(ms int64) time.Duration {
	if ms <= 0 {
		return 0
	}
	return time.Duration(min(ms, maxAdvice.Milliseconds())) * time.Millisecond
}
