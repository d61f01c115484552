package wt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/chappe-relay/chappe/relay/wire"
)

// FuzzReader gives a reader foreign bytes, whole and one by one.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x05hello\x00\x02hi"))
	f.Add([]byte("\x81\x00x"))                              // a length in more bytes than it needs
	f.Add(binary.AppendUvarint(nil, 1<<40))                 // over the limit
	f.Add(bytes.Repeat([]byte{0xff}, 12))                   // no length
	f.Add(append([]byte{0xe8, 0x07}, make([]byte, 999)...)) // cut short
	const limit = 1 << 10
	read := func(from io.Reader) (all [][]byte, err error) {
		in := &reader{from: from, limit: limit, heard: func(n int) {
			if n <= 0 {
				panic("heard nothing")
			}
		}}
		for {
			b, err := in.next()
			if err != nil {
				return all, err
			}
			all = append(all, b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, err := read(bytes.NewReader(b))
		parts, perr := read(iotest.OneByteReader(bytes.NewReader(b)))
		if !slices.EqualFunc(whole, parts, bytes.Equal) {
			t.Fatalf("%d messages, and %d byte by byte", len(whole), len(parts))
		}
		_, big := errors.AsType[*wire.CloseError](err)
		_, pbig := errors.AsType[*wire.CloseError](perr)
		if big != pbig || !big && err != io.EOF {
			t.Fatalf("%v, and %v byte by byte", err, perr)
		}
		rest := b
		for i, m := range whole {
			size, k := binary.Uvarint(rest)
			if size > limit || !bytes.Equal(m, rest[k:k+int(size)]) {
				t.Fatalf("message %d is %q of %q", i, m, rest)
			}
			rest = rest[k+int(size):]
		}
	})
}
