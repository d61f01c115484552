package abi

// Readers writes a Deliver frame (ABI §5.5) in two parts: the records, once for
// a set of readers, and then for each message the header and the message behind
// the records. It owns the buffer while it is used for it.
type Readers struct {
	buf  []byte
	n    int // records written
	max  int // records there is room for
	end  int // where the next ext begins, and at last the message
	room int // bytes kept free for the message
}

// Reset begins anew, for at most n readers and messages whose parts (all their
// texts and the payload) take at most room bytes.
func (r *Readers) Reset(buf []byte, n, room int) {
	n = max(0, min(n, MaxReaders, (len(buf)-room-HeaderLen)/RecLen))
	*r = Readers{buf: buf, max: n, end: HeaderLen + n*RecLen, room: room}
}

// Add writes one record; user is HashUser's. It reports false, and writes
// nothing, when the frame is full: the rest goes into another.
func (r *Readers) Add(tags uint64, level, group uint32, user uint64, ext []byte) bool {
	if r.n >= r.max || len(ext) > MaxExt {
		return false
	}
	var ref uint64
	if len(ext) > 0 {
		if r.end+len(ext)+r.room > len(r.buf) {
			return false
		}
		ref = uint64(r.end) | uint64(len(ext))<<32
		r.end += copy(r.buf[r.end:], ext)
	}
	at := HeaderLen + r.n*RecLen
	b := r.buf[at : at+RecLen : at+RecLen]
	le.PutUint64(b[RecTags:], tags)
	le.PutUint64(b[RecLevel:], uint64(level)|uint64(group)<<32)
	le.PutUint64(b[RecUser:], user)
	le.PutUint64(b[RecExtOff:], ref)
	r.n++
	return true
}

// Len is how many records there are.
func (r *Readers) Len() int { return r.n }

// Encode writes the frame of one message for these readers and returns its
// length. It may be called again for the next message. The only error is
// FaultTooBig: the message takes more than Reset was told.
func (r *Readers) Encode(e *Event) (int, error) {
	e.Arg0, e.Arg1 = uint32(r.n), RecLen
	return e.encode(r.buf, Deliver, r.end)
}

// HashUser is FNV-1a 64 of a user's name as records have it; 0 if there is none.
func HashUser[T ~string | ~[]byte](name T) uint64 {
	if len(name) == 0 {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h
}

// Spread takes a bitmap of n readers apart: reader i of it becomes bit
// (first+i)%64 of word (first+i)/64 of to, and other bits of to stay. A nil
// bitmap sets none of the n; see All.
func Spread(to []uint64, first int, bitmap []byte, n int) {
	for i := 0; i < n; {
		at := first + i
		if at&7 == 0 && i&7 == 0 && n-i >= 8 {
			var b uint64
			if bitmap != nil {
				b = uint64(bitmap[i>>3])
			}
			shift := uint(at & 63)
			to[at>>6] = to[at>>6]&^(0xff<<shift) | b<<shift
			i += 8
			continue
		}
		bit := uint64(1) << (at & 63)
		if bitmap != nil && bitmap[i>>3]&(1<<(i&7)) != 0 {
			to[at>>6] |= bit
		} else {
			to[at>>6] &^= bit
		}
		i++
	}
}

// All sets n bits of to, from first on.
func All(to []uint64, first, n int) {
	for i := first; i < first+n; {
		if i&63 == 0 && first+n-i >= 64 {
			to[i>>6] = ^uint64(0)
			i += 64
			continue
		}
		to[i>>6] |= 1 << (i & 63)
		i++
	}
}
