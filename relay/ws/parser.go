package ws

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/chappe-relay/chappe/relay/wire"
)

// maxFragments bounds the fragments of one message: a byte each would cost us
// more than it costs the sender.
const maxFragments = 128

// sink takes what the parser finds. Payloads are valid until it returns.
type sink interface {
	message(text bool, payload []byte) error
	ping(payload []byte)
	closed(code wire.CloseCode, reason []byte)
}

// errClosed ends parsing behind a close frame: what follows it is not read.
var errClosed = errors.New("closed by the peer")

// parser takes the bytes of a client apart. It holds nothing between messages.
type parser struct {
	limit     int    // bytes of one message
	rest      []byte // the beginning of a frame whose end has not come
	whole     []byte // the fragments of a message so far, unmasked
	text      bool   // of that message
	open      bool   // a fragmented message is under way
	fragments int
	checked   int // of whole: bytes known to be UTF-8
}

// feed takes the next bytes, which it may change. An error ends the connection.
func (p *parser) feed(b []byte, r *bytes.Reader, to sink) error {
	if len(p.rest) > 0 {
		p.rest = append(p.rest, b...)
		b = p.rest
	}
	for len(b) > 0 {
		n, err := p.frame(b, r, to)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		b = b[n:]
	}
	switch {
	case len(b) == 0:
		p.rest = nil // nothing is held for an idle connection
	default:
		p.rest = append(p.rest[:0:0], b...)
	}
	return nil
}

// frame handles the frame that b begins with, and returns its length, or 0 if
// b does not hold all of it.
func (p *parser) frame(b []byte, r *bytes.Reader, to sink) (int, error) {
	r.Reset(b)
	h, err := ws.ReadHeader(r)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return 0, nil
	case err != nil:
		return 0, protocolError(err.Error())
	}
	state := ws.StateServerSide
	if p.open {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return 0, protocolError(err.Error())
	}
	if h.Rsv != 0 {
		return 0, protocolError("reserved bits are set and no extension was agreed")
	}
	if h.Length > int64(p.limit) || int64(len(p.whole))+h.Length > int64(p.limit) {
		return 0, &wire.CloseError{Close: wire.CloseTooBig, Code: wire.CodeTooBig, Text: "message over the limit"}
	}
	head := len(b) - r.Len()
	if int64(r.Len()) < h.Length {
		return 0, nil
	}
	payload := b[head : head+int(h.Length)]
	ws.Cipher(payload, h.Mask, 0)
	return head + len(payload), p.act(h, payload, to)
}

func (p *parser) act(h ws.Header, payload []byte, to sink) error {
	switch h.OpCode {
	case ws.OpPing:
		to.ping(payload)
		return nil
	case ws.OpPong:
		return nil
	case ws.OpClose:
		code, reason, err := closeBody(payload)
		if err != nil {
			return err
		}
		to.closed(code, reason)
		return errClosed
	case ws.OpContinuation:
	default:
		p.text = h.OpCode == ws.OpText
		if h.Fin {
			if p.text && !utf8.Valid(payload) {
				return errUTF8
			}
			return to.message(p.text, payload)
		}
		p.open, p.fragments, p.checked = true, 0, 0
	}
	if p.fragments++; p.fragments > maxFragments {
		return &wire.CloseError{Close: wire.ClosePolicy, Code: wire.CodeTooMany, Text: "too many fragments"}
	}
	p.whole = append(p.whole, payload...)
	if p.text && !p.check(h.Fin) {
		return errUTF8
	}
	if !h.Fin {
		return nil
	}
	whole := p.whole
	p.whole, p.open = nil, false
	return to.message(p.text, whole)
}

var errUTF8 = &wire.CloseError{Close: wire.CloseBadUTF8, Code: wire.CodeBadUTF8, Text: "a text message is UTF-8"}

// check validates what has come of a text message; only its last code point may
// be incomplete, and only before its end.
func (p *parser) check(end bool) bool {
	for p.checked < len(p.whole) {
		r, n := utf8.DecodeRune(p.whole[p.checked:])
		if r == utf8.RuneError && n <= 1 {
			return !end && !utf8.FullRune(p.whole[p.checked:])
		}
		p.checked += n
	}
	return true
}

func protocolError(text string) error {
	return &wire.CloseError{Close: wire.CloseProtocol, Code: wire.CodeBadFrame, Text: text}
}

// closeBody reads a close frame (RFC 6455 §5.5.1, §7.4).
func closeBody(b []byte) (wire.CloseCode, []byte, error) {
	if len(b) == 0 {
		return wire.CloseNormal, nil, nil
	}
	if len(b) == 1 {
		return 0, nil, protocolError("half a close code")
	}
	code, reason := ws.ParseCloseFrameData(b)
	if err := ws.CheckCloseFrameData(code, reason); err != nil || !mayBeSent(code) {
		if !utf8.ValidString(reason) {
			return 0, nil, errUTF8
		}
		return 0, nil, protocolError("not a close code")
	}
	return wire.CloseCode(code), b[2:], nil
}

// mayBeSent says whether a close code may stand in a frame (RFC 6455 §7.4.1 and
// the IANA registry).
func mayBeSent(c ws.StatusCode) bool {
	switch {
	case c >= 1000 && c <= 1003, c >= 1007 && c <= 1014, c >= 3000 && c <= 4999:
		return true
	}
	return false
}
