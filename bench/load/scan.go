package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/relay/wire"
)

// A sink takes what a scanner finds. The slices are valid during the call only.
type sink interface {
	message(payload, frame []byte) // payload of ours, or nil; frame: the whole frame or event block
	frame(f wire.Frame)            // any other frame
	ping(payload []byte)           // a WebSocket ping (RFC 6455 §5.5.2)
	id(cursor []byte)              // the id of an SSE event
}

// A scanner reads one form of stream. scan takes complete units from b and
// returns how many bytes they were; what is left is brought again with more.
type scanner interface {
	scan(b []byte, to sink) (n int, err error)
}

// Faults of a stream.
var (
	errFrame      = errors.New("bad WebSocket frame")
	errFragmented = errors.New("a fragmented WebSocket message, which the server never sends")
)

// closedError is a WebSocket close frame (RFC 6455 §5.5.1).
type closedError struct {
	code   uint16
	reason string
}

func (e *closedError) Error() string {
	return fmt.Sprintf("closed by the server: %d %s", e.code, e.reason)
}

// socket scans WebSocket messages of either sub-protocol.
type socket struct{ size int } // size of our payloads, in bytes

func (s *socket) scan(b []byte, to sink) (int, error) {
	n := 0
	for {
		body, opcode, used, err := readMessage(b[n:])
		if err != nil || used == 0 {
			return n, err
		}
		switch opcode {
		case 1:
			err = scanText(body, to)
		case 2:
			err = s.scanBinary(body, to)
		case 8:
			e := &closedError{code: 1005}
			if len(body) >= 2 {
				e.code, e.reason = binary.BigEndian.Uint16(body), string(body[2:])
			}
			return n, e
		case 9:
			to.ping(body)
		case 10:
		default:
			return n, fmt.Errorf("%w: opcode %d", errFrame, opcode)
		}
		if err != nil {
			return n, err
		}
		n += used
	}
}

// readMessage reads one unmasked WebSocket message. n is 0 when it is not complete.
func readMessage(b []byte) (body []byte, opcode byte, n int, err error) {
	if len(b) < 2 {
		return nil, 0, 0, nil
	}
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return nil, 0, 0, fmt.Errorf("%w: header %x", errFrame, b[:2])
	}
	if opcode = b[0] & 15; b[0]&0x80 == 0 || opcode == 0 {
		return nil, 0, 0, errFragmented
	}
	at, size := 2, uint64(b[1])
	switch size {
	case 126:
		if len(b) < 4 {
			return nil, 0, 0, nil
		}
		at, size = 4, uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if len(b) < 10 {
			return nil, 0, 0, nil
		}
		at, size = 10, binary.BigEndian.Uint64(b[2:])
	}
	if size > maxUnit {
		return nil, 0, 0, fmt.Errorf("%w: %d bytes", errFrame, size)
	}
	if uint64(len(b)-at) < size {
		return nil, 0, 0, nil
	}
	return b[at : at+int(size)], opcode, at + int(size), nil
}

// scanBinary scans the frames of one message: type u8 | uvarint length | body.
func (s *socket) scanBinary(b []byte, to sink) error {
	for len(b) > 0 {
		size, w := binary.Uvarint(b[1:])
		if w <= 0 || uint64(len(b)-1-w) < size {
			return fmt.Errorf("%w: a frame of type %#x does not fit its message", errFrame, b[0])
		}
		end := 1 + w + int(size)
		if wire.Type(b[0]) == wire.TypeMsg {
			to.message(s.payload(b[1+w:end]), b[:end])
		} else if b[0]&0x80 == 0 {
			f, _, err := wire.DecodeBinaryFrame(b[:end], wire.FromServer)
			if err != nil {
				return fmt.Errorf("%w: %w", errFrame, err)
			}
			to.frame(f)
		}
		b = b[end:]
	}
	return nil
}

// payload finds our payload in the body of a binary message. Data is the last
// field, so it stands at the end; if not, the mark is searched for.
func (s *socket) payload(body []byte) []byte {
	if at := len(body) - s.size; at >= 0 && s.size > 0 && body[at] == mark {
		return body[at:]
	}
	if at := bytes.LastIndexByte(body, mark); at >= 0 {
		return body[at:]
	}
	return nil
}

// scanText scans a JSON frame. Messages are known by the mark alone.
func scanText(b []byte, to sink) error {
	if at := bytes.IndexByte(b, mark); at >= 0 {
		to.message(b[at:], b)
		return nil
	}
	fs, err := wire.DecodeJSON(b, wire.FromServer)
	if err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	for _, f := range fs {
		to.frame(f)
	}
	return nil
}
