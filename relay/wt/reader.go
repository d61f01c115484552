package wt

import (
	"encoding/binary"
	"io"

	"github.com/chappe-relay/chappe/relay/wire"
)

// reader takes messages off a byte stream: uint length, then the message.
type reader struct {
	from  io.Reader
	limit int
	heard func(n int)

	buf []byte
	err error
}

// next returns the next message, which is the caller's. What is over the limit is
// a *wire.CloseError; it is not waited for, let alone held.
func (r *reader) next() ([]byte, error) {
	for {
		size, k := binary.Uvarint(r.buf)
		switch {
		case k < 0 || k == 0 && len(r.buf) >= binary.MaxVarintLen64 || k > 0 && size > uint64(r.limit):
			return nil, &wire.CloseError{Close: wire.CloseTooBig, Code: wire.CodeTooBig, Text: "message over the limit"}
		case k > 0 && uint64(len(r.buf)-k) >= size:
			b := append([]byte(nil), r.buf[k:k+int(size)]...) // payloads are kept
			r.buf = r.buf[k+int(size):]
			if len(r.buf) == 0 {
				r.buf = nil // nothing is held for an idle connection
			}
			return b, nil
		}
		if r.err != nil {
			return nil, r.err
		}
		var some [2048]byte
		var n int
		n, r.err = r.from.Read(some[:])
		if n > 0 {
			r.heard(n)
			r.buf = append(r.buf, some[:n]...)
		}
	}
}
