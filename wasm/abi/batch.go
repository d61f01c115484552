package abi

// Batch writes a PublishBatch frame (ABI §5.4).
type Batch struct {
	buf []byte
	n   int
	max int
	end int
}

// Reset begins a frame in buf for at most n messages. now is the same for all.
func (b *Batch) Reset(buf []byte, n int) {
	n = max(0, min(n, 0xffff, (len(buf)-HeaderLen)/(4+HeaderLen)))
	*b = Batch{buf: buf, max: n, end: HeaderLen + 4*n}
}

// Add appends a message. It reports false, and writes nothing, when the frame
// is full.
func (b *Batch) Add(e *Event) bool {
	at := (b.end + 7) &^ 7
	if b.n >= b.max || at+e.Size() > len(b.buf) {
		return false
	}
	clear(b.buf[b.end:at])
	e.put(b.buf[at:], Publish, HeaderLen)
	le.PutUint32(b.buf[HeaderLen+4*b.n:], uint32(at))
	b.n++
	b.end = at + e.Size()
	return true
}

// Len is how many messages there are.
func (b *Batch) Len() int { return b.n }

// Encode writes the header and returns the frame's length. now is in
// milliseconds since 1970.
func (b *Batch) Encode(now uint64) (int, error) {
	e := Event{Now: now, Arg0: uint32(b.n)}
	return e.encode(b.buf, PublishBatch, b.end)
}

// Answers reads the answer to a batch, one message after the other.
type Answers struct {
	out  []byte
	next int // the message to be read
	n    int // how many are answered
	at   int // its output
}

// Parse takes the result word of a batch of n messages and the out-buffer.
// Errors are Faults: the whole call counts as a trap.
func (a *Answers) Parse(word uint64, out []byte, n int) error {
	v, flags, code, length := Unword(word)
	switch {
	case v >= Verdicts:
		return FaultVerdict
	case v == Error:
		return FaultGuest
	case v != Allow:
		return FaultHook
	case flags&^VerdictLog != 0:
		return FaultFlags
	case uint64(length) > uint64(len(out)) || length > OutBatch:
		return FaultLength
	case int(code) > n || uint64(length) < 8*uint64(n):
		return FaultOutput
	}
	answered := int(code)
	if answered == 0 {
		answered = n
	}
	*a = Answers{out: out[:length], n: answered, at: 8 * n}
	// Every output is within the whole, and the whole is used up: checked at
	// once, so that a forged word is found before any message is let through.
	sum := uint64(a.at)
	for i := range answered {
		sum += le.Uint64(a.out[8*i:]) >> 32
	}
	if sum != uint64(length) {
		return FaultLength
	}
	return nil
}

// Len is how many messages are answered; the rest must be sent again.
func (a *Answers) Len() int { return a.n }

// Next reads the next message's answer to r, as r.Parse does: an error stands
// for a trap at that message alone. It reports false when none is left.
func (a *Answers) Next(r *Result) (bool, error) {
	if a.next >= a.n {
		return false, nil
	}
	word := le.Uint64(a.out[8*a.next:])
	n := int(word >> 32)
	out := a.out[a.at : a.at+n]
	a.next++
	a.at += n
	return true, r.Parse(word, out, Publish, 0)
}
