package chappe

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

// loss says how a connection, or an attempt at one, ended (CLIENTS §3).
type loss struct {
	err      error         // for people
	delay    time.Duration // the relay's advice; 0: none
	auth     bool          // the credentials were refused
	terminal bool          // coming back is useless; err is an *Error
	drained  bool          // the relay chose this moment for us: no further delay
	moved    []string      // with drained: where to go
	idle     bool          // nothing is wanted any more
	mute     bool          // nobody who speaks the protocol said anything: another transport may do
	silent   bool          // the relay fell silent
}

// lossOf reads how the relay, or the network, ended a link.
func (l *link) lossOf(err error) loss {
	by, ok := errors.AsType[*carrier.Closed](err)
	if !ok {
		return loss{err: fmt.Errorf("connection to %s lost: %w", l.base, err), delay: l.lastAdvice(), mute: l.welcome == nil && l.last == nil}
	}
	told, _ := wire.ParseReason(by.Reason)
	refused := &Error{Code: told.Code, Text: told.Text, Retry: advice(told.Retry), Close: by.Code}
	if l.last != nil { // the err frame before says it at length
		refused.Code, refused.Text = l.last.Code, l.last.Text
		refused.Retry = cmp.Or(refused.Retry, advice(l.last.Retry))
	}
	if refused.Code == "" {
		refused.Text = by.Error()
	}
	return loss{
		err:      refused,
		delay:    refused.Retry,
		auth:     by.Code >= 4400 && by.Code < 4500,
		terminal: !by.Code.Reconnects() && (by.Code < 4400 || by.Code >= 4500),
	}
}

func (l *link) lastAdvice() time.Duration {
	if l.last == nil {
		return 0
	}
	return advice(l.last.Retry)
}

// lossOfResponse reads an answer that is not the one hoped for. It consumes,
// but does not close, the body.
func lossOfResponse(resp *http.Response) loss {
	var body []byte
	if resp.Body != nil {
		body, _ = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	}
	told := errorBody(body)
	e := &Error{Code: told.Code, Text: told.Text, Retry: advice(told.Retry)}
	if e.Retry == 0 {
		e.Retry = retryAfter(resp.Header.Get("Retry-After"))
	}
	coded := e.Code != ""
	if !coded {
		e.Text = cmp.Or(e.Text, resp.Status)
	}
	return loss{
		err:   e,
		delay: e.Retry,
		auth:  resp.StatusCode == http.StatusUnauthorized || badCredentials(e.Code),
		// Without a code of ours the answer may come from anything on the way,
		// and may be another one in a minute.
		mute:     !coded,
		terminal: coded && (told.Terminal || resp.StatusCode/100 == 4 && !passing(resp.StatusCode)),
	}
}

// lossOfError reads an error event that ends a stream.
func lossOfError(f *wire.Err) loss {
	return loss{
		err: refusal(f), delay: advice(f.Retry),
		auth:     badCredentials(f.Code),
		terminal: f.Terminal && !badCredentials(f.Code),
	}
}

func badCredentials(c Code) bool {
	return c == wire.CodeBadToken || c == wire.CodeTokenExpired || c == wire.CodeTokenRequired
}

// passing reports whether a 4xx status may be different next time.
func passing(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict,
		http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return false
}

// retryAfter reads Retry-After: seconds or a date (RFC 9110 §10.2.3).
func retryAfter(v string) time.Duration {
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		return advice(min(n, 1<<40) * 1000)
	}
	if at, err := http.ParseTime(v); err == nil {
		return advice(time.Until(at).Milliseconds())
	}
	return 0
}
