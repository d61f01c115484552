package load

// A payload is printable, so that it travels the same in every wire form:
//
//	'~' | 16 hex digits due time, Unix nanoseconds | 8 hex digits sequence number | filler
//
// The mark occurs in no channel name, cursor or field name: in text forms it is
// searched for instead of parsing the frame.
const (
	mark    = '~'
	Minimum = 1 + 16 + 8 // bytes of a payload without filler
)

const digits = "0123456789abcdef"

// AppendPayload appends a payload of size bytes (at least Minimum).
func AppendPayload(dst []byte, due int64, seq uint32, size int) []byte {
	dst = append(dst, mark)
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[uint64(due)>>shift&15])
	}
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[seq>>shift&15])
	}
	for n := size - Minimum; n > 0; n -= len(filler) {
		dst = append(dst, filler[:min(n, len(filler))]...)
	}
	return dst
}

const filler = "the quick brown fox jumps over the lazy dog and sends it on, "

// nibble holds the value of a hex digit; other bytes count as 0, which the
// sequence check then notices.
var nibble = func() (t [256]byte) {
	for i := range len(digits) {
		t[digits[i]] = byte(i)
	}
	return t
}()

// Sequence returns the sequence number of a payload.
func Sequence(p []byte) (seq uint32, ok bool) {
	if len(p) < Minimum || p[0] != mark {
		return 0, false
	}
	for _, c := range p[17:25] {
		seq = seq<<4 | uint32(nibble[c])
	}
	return seq, true
}

// Due returns the due time of a payload for which Sequence was ok.
func Due(p []byte) int64 {
	var due uint64
	for _, c := range p[1:17] {
		due = due<<4 | uint64(nibble[c])
	}
	return int64(due)
}
