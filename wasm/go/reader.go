package chappe

import "github.com/chappe-relay/chappe/wasm/abi"

// Reader is one subscription that a deliver hook decides about: its tags, as the
// subscribe hook gave them.
type Reader struct {
	Tags
	User uint64 // HashUser of the reader's user; 0: anonymous
}

// HashUser is a user's name as Reader has it.
func HashUser(name string) uint64 { return abi.HashUser(name) }

// Readers is how many readers a deliver hook is asked about.
func (e *Event) Readers() int {
	if e.f.Hook() != abi.Deliver {
		return 0
	}
	return int(e.f.Arg0())
}

// Reader is reader i.
func (e *Event) Reader(i int) Reader {
	t, user := e.f.Reader(i)
	return Reader{t, user}
}

// Filter answers a deliver hook: those readers get the message for whom keep
// says so. The reader is valid during the call of keep.
func (e *Event) Filter(keep func(r *Reader) bool) Verdict {
	n := e.Readers()
	bitmap := bits[:(n+7)/8]
	clear(bitmap)
	for i := range n {
		current = e.Reader(i)
		if keep(&current) {
			bitmap[i>>3] |= 1 << (i & 7)
		}
	}
	return Verdict{kind: abi.Bitmap, payload: bitmap}
}

var (
	bits    [abi.MaxReaders / 8]byte
	current Reader // one for all, so that a handler's closure makes none escape
)
