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

// parser takes the bytes of a client apart as they come: each is looked at once,
// however the network cuts them. It holds nothing between messages.
type parser struct {
	limit     uint32 // bytes of one message
	rest      []byte // the beginning of a header, or of a control frame, whose end has not come
	whole     []byte // the message so far, unmasked
	fragments uint32 // of that message
	checked   uint32 // of whole: bytes known to be UTF-8

	left   uint32 // bytes of a data frame that have not come
	mask   [4]byte
	turned uint8 // where in the mask left begins
	inside bool  // behind the header of a data frame
	final  bool  // of that frame: it ends its message
	text   bool  // of the message
	open   bool  // more fragments are to come
}

// maxHead is the most that is read before anything can be done with it: a
// control frame is taken whole (RFC 6455 §5.5).
const maxHead = ws.MaxHeaderSize + ws.MaxControlFramePayloadSize

// feed takes the next bytes, which it may change. An error ends the connection.
func (p *parser) feed(b []byte, r *bytes.Reader, to sink) error {
	for {
		var n int
		var err error
		switch {
		case p.inside:
			n, err = p.payload(b, to)
		case len(b) == 0:
			return nil
		case len(p.rest) > 0:
			n, err = p.resume(b, r, to)
		default:
			n, err = p.head(b, r, to)
			if n == 0 {
				p.rest = append(p.rest, b...)
				n = len(b)
			}
		}
		if err != nil {
			return err
		}
		if b = b[n:]; p.inside && len(b) == 0 && p.left > 0 {
			return nil
		}
	}
}

// resume goes on with a header, or control frame, that came in pieces, and
// returns how much of b it took.
func (p *parser) resume(b []byte, r *bytes.Reader, to sink) (int, error) {
	had := len(p.rest)
	more := min(len(b), maxHead-had)
	p.rest = append(p.rest, b[:more]...)
	n, err := p.head(p.rest, r, to)
	if n == 0 {
		return more, err
	}
	p.rest = nil // nothing is held for an idle connection
	return n - had, err
}

// head handles the header that b begins with, and a control frame's payload
// with it. It returns their length, or 0 if b does not hold all of them.
func (p *parser) head(b []byte, r *bytes.Reader, to sink) (int, error) {
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
	n := len(b) - r.Len()
	if !h.OpCode.IsControl() {
		return n, p.begin(h)
	}
	if r.Len() < int(h.Length) {
		return 0, nil
	}
	payload := b[n : n+int(h.Length)]
	ws.Cipher(payload, h.Mask, 0)
	return n + len(payload), control(h.OpCode, payload, to)
}

// begin enters a data frame.
func (p *parser) begin(h ws.Header) error {
	if h.Length > int64(p.limit)-int64(len(p.whole)) {
		return &wire.CloseError{Close: wire.CloseTooBig, Code: wire.CodeTooBig, Text: "message over the limit"}
	}
	if h.OpCode != ws.OpContinuation {
		p.text, p.fragments, p.checked = h.OpCode == ws.OpText, 0, 0
	}
	if p.fragments++; p.fragments > maxFragments {
		return &wire.CloseError{Close: wire.ClosePolicy, Code: wire.CodeTooMany, Text: "too many fragments"}
	}
	p.open, p.final = !h.Fin, h.Fin
	p.inside, p.left, p.mask, p.turned = true, uint32(h.Length), h.Mask, 0
	return nil
}

// payload takes what has come of a data frame, and returns how much that is.
func (p *parser) payload(b []byte, to sink) (int, error) {
	part := b[:min(len(b), int(p.left))]
	ws.Cipher(part, p.mask, int(p.turned))
	p.turned = uint8(int(p.turned)+len(part)) & 3
	p.left -= uint32(len(part))
	p.inside = p.left > 0
	end := p.final && !p.inside
	if end && p.fragments == 1 && p.whole == nil { // all in one piece: no copy
		if p.text && !utf8.Valid(part) {
			return 0, errUTF8
		}
		return len(part), to.message(p.text, part)
	}
	p.whole = append(p.whole, part...)
	if p.text && !p.check(end) {
		return 0, errUTF8
	}
	if !end {
		return len(part), nil
	}
	whole := p.whole
	p.whole = nil
	return len(part), to.message(p.text, whole)
}

func control(op ws.OpCode, payload []byte, to sink) error {
	switch op {
	case ws.OpPing:
		to.ping(payload)
	case ws.OpClose:
		code, reason, err := closeBody(payload)
		if err != nil {
			return err
		}
		to.closed(code, reason)
		return errClosed
	}
	return nil
}

var errUTF8 = &wire.CloseError{Close: wire.CloseBadUTF8, Code: wire.CodeBadUTF8, Text: "a text message is UTF-8"}

// check validates what has come of a text message; only its last code point may
// be incomplete, and only before its end. What nothing can make good is refused
// at once (RFC 6455 §8.1).
func (p *parser) check(end bool) bool {
	b := p.whole[p.checked:]
	if !end {
		b = b[:len(b)-unfinished(b)]
	}
	p.checked += uint32(len(b))
	return utf8.Valid(b)
}

// unfinished returns how many bytes at the end of b begin a code point that what
// follows may complete.
func unfinished(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if last := b[len(b)-i:]; utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return i
		}
	}
	return 0
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
	switch {
	case !utf8.ValidString(reason):
		return 0, nil, errUTF8
	case !mayBeSent(code): // ws.CheckCloseFrameData knows nothing of 1012 to 1014
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
