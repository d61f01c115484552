package abi

import "encoding/binary"

var le = binary.LittleEndian

// Event is what a host tells a hook: the fields of a frame's header (ABI §4.1).
// The zero value of a field is an absent one.
type Event struct {
	Flags   uint32
	Tick    uint64 // microseconds since 1970
	Now     uint64 // milliseconds since 1970
	Channel string
	Client  string
	Claims  string
	Name    string // of the event
	User    string
	Key     string
	ID      string
	Payload []byte
	Arg0    uint32
	Arg1    uint32
}

// Size is the length of the event's frame, in bytes.
func (e *Event) Size() int { return HeaderLen + e.parts() }

func (e *Event) parts() int {
	return len(e.Channel) + len(e.Client) + len(e.Claims) + len(e.Name) + len(e.User) + len(e.Key) + len(e.ID) + len(e.Payload)
}

// Encode writes the event's frame to the start of buf and returns its length.
// The only error is FaultTooBig. It does not allocate.
func (e *Event) Encode(buf []byte, h Hook) (int, error) {
	return e.encode(buf, h, HeaderLen)
}

// AppendFrame appends the event's frame to dst. References count from where
// the frame begins.
func AppendFrame(dst []byte, h Hook, e *Event) []byte {
	at, n := len(dst), e.Size()
	if cap(dst)-at < n {
		grown := make([]byte, at, 2*at+n)
		copy(grown, dst)
		dst = grown
	}
	dst = dst[:at+n]
	e.put(dst[at:], h, HeaderLen)
	return dst
}

// encode writes the header to the start of buf and the parts from at on.
func (e *Event) encode(buf []byte, h Hook, at int) (int, error) {
	n := at + e.parts()
	if n > len(buf) {
		return 0, FaultTooBig
	}
	e.put(buf, h, at)
	return n, nil
}

func (e *Event) put(buf []byte, h Hook, at int) {
	b := buf[:HeaderLen:HeaderLen]
	le.PutUint64(b, HeaderLen|Version<<16|uint64(h)<<24|uint64(e.Flags)<<32)
	le.PutUint64(b[OffTick:], e.Tick)
	le.PutUint64(b[OffNow:], e.Now)
	at = part(buf, OffChannel, at, e.Channel)
	at = part(buf, OffClient, at, e.Client)
	at = part(buf, OffClaims, at, e.Claims)
	at = part(buf, OffEvent, at, e.Name)
	at = part(buf, OffUser, at, e.User)
	at = part(buf, OffKey, at, e.Key)
	at = part(buf, OffID, at, e.ID)
	le.PutUint64(b[OffArg0:], uint64(e.Arg0)|uint64(e.Arg1)<<32)
	if len(e.Payload) == 0 {
		le.PutUint64(b[OffPayload:], 0)
		return
	}
	le.PutUint64(b[OffPayload:], uint64(at)|uint64(len(e.Payload))<<32)
	copy(buf[at:], e.Payload)
}

// part writes one text and the reference to it. It returns where the next
// begins.
func part(buf []byte, ref, at int, s string) int {
	if s == "" {
		le.PutUint64(buf[ref:], 0)
		return at
	}
	le.PutUint64(buf[ref:], uint64(at)|uint64(len(s))<<32)
	return at + copy(buf[at:], s)
}
