// Package log is one channel's bounded log of messages, and the readers that
// hold a place in it.
//
// Invariants:
//   - An Entry is immutable once appended; its wire forms are made at most a
//     few times and shared by every reader.
//   - Indices of a log are contiguous and never used again: what a reader lost
//     is a subtraction.
//   - Entries of a log stand in order of At, the node's arrival number, and for
//     one origin also in order of tick.
//   - A publisher pays for a log's shards, never for its readers.
//
// Where a store has a log's messages, the memory budget takes entries and leaves a
// stub of each (Evict): which message stood there, 64 bytes. Stubs stand before the
// entries, count against the log's limits in number, bytes and age as if nothing had
// happened, and are filled again from the store (Fill), the newest first and each in
// its place: indices, order and arrival numbers are what they were. A reader that
// needs them waits for that, or is told a loss (Lost).
package log

import (
	"sync/atomic"

	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Kind says what a message does to a log.
type Kind uint8

// Kinds.
const (
	Plain Kind = iota // it is appended
	Void              // it holds its place: what it said is no longer kept
	Clear             // the channel's history ends before it
)

// Message is what travels between nodes: stamped once, the same everywhere.
type Message struct {
	wire.Msg
	Kind    Kind
	Shard   uint8
	Scope   string         // whose ID it is, where that is not the user in From: "k:" and an API key
	SSeq    uint64         // 1, 2, 3… per origin and shard: holes are noticed on it
	Expires uint64         // tick from which it is no longer delivered; 0: never
	Sender  uint64         // session that must not get it back; 0: none
	Filter  *policy.Filter // what a plugin pinned to it; nil: everybody gets it
}

// Publisher returns whose id m has: "u:" and a user, or "k:" and an API key.
func (m *Message) Publisher() string {
	if m.Scope != "" {
		return m.Scope
	}
	return "u:" + m.From
}

// Entry is a message in this node's timeline.
type Entry struct {
	Message
	At    uint64 // this node's arrival number
	Born  uint64 // its tick, by this node's clock: ages are told by it
	Own   bool   // stamped by this node
	forms [forms]atomic.Pointer[[]byte]

	erased atomic.Bool // its channel's history was cleared
	copies atomic.Pointer[[]position.Stamp]
}

// Copies returns the other stamps that the same publication received: it was
// published again, with its id, where the first one was not known. A reader that
// has done any of them has had the message.
func (e *Entry) Copies() []position.Stamp {
	if c := e.copies.Load(); c != nil {
		return *c
	}
	return nil
}

// Erase notes that the channel's history was cleared.
func (e *Entry) Erase() { e.erased.Store(true) }

// Erased reports whether the channel's history was cleared after e came.
func (e *Entry) Erased() bool { return e.erased.Load() }

// Form is one ready-to-write encoding of an entry.
type Form uint8

// Forms.
const (
	JSON   Form = iota // WebSocket text message: header and JSON frame
	Binary             // WebSocket binary message: header and binary frame
	forms
)

// Overhead is what an entry costs beside its payload, and Held how often the
// payload is held (as published, and in up to two forms): an estimate, on the
// high side, made when it is appended, so that the memory budget needs no
// correction when a form is made.
const (
	Overhead = 512
	Held     = 3
)

// Bytes is what e is charged against a memory budget.
func (e *Entry) Bytes() int64 {
	return Overhead + int64(len(e.Channel)+len(e.ID)+len(e.Key)) + Held*int64(len(e.Data))
}

// Frame returns e's bytes in a form, made on first use. The caller must not
// change them. Two readers may both make them the first time; one wins.
func (e *Entry) Frame(f Form) []byte {
	if b := e.forms[f].Load(); b != nil {
		return *b
	}
	b := e.encode(f)
	if !e.forms[f].CompareAndSwap(nil, &b) {
		return *e.forms[f].Load()
	}
	return b
}

func (e *Entry) encode(f Form) []byte {
	stack := make([]byte, 0, 10+160+len(e.Channel)+2*len(e.Data))
	switch f {
	case Binary:
		return AppendWS(nil, 2, wire.AppendBinary(stack, &e.Msg))
	default:
		return AppendWS(nil, 1, wire.AppendJSON(stack, &e.Msg))
	}
}

// Binary returns the binary frame of e without its WebSocket header.
func (e *Entry) Binary() []byte {
	b := e.Frame(Binary)
	return b[headerLen(b):]
}

// JSON returns the JSON frame of e without its WebSocket header.
func (e *Entry) JSON() []byte {
	b := e.Frame(JSON)
	return b[headerLen(b):]
}

// AppendWS appends one unmasked, final WebSocket message (RFC 6455 §5.2).
func AppendWS(dst []byte, opcode byte, payload []byte) []byte {
	dst = append(dst, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, byte(n))
	case n < 1<<16:
		dst = append(dst, 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, payload...)
}

func headerLen(b []byte) int {
	switch b[1] {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
}

// Expired reports whether e is past its time to live, which its origin's clock
// tells, at a time of this node's.
func (e *Entry) Expired(now uint64) bool {
	return e.Expires != 0 && now+e.Stamp.Tick-e.Born >= e.Expires
}

// Trim says of one origin what a log no longer holds: everything up to Tick.
type Trim struct {
	Origin position.Origin
	Tick   uint64
	Seq    uint64 // last trimmed sequence number; 0: unknown
}
