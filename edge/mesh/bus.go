package mesh

import (
	"slices"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

var _ node.Bus = (*Mesh)(nil)

// answerBytes is about what an answer holds: a second of a 1 Mbit/s line.
const answerBytes = 128 << 10

// Attach implements node.Bus.
func (m *Mesh) Attach(shard uint8) { m.out.order(attach, shard, 0) }

// Detach says that a shard is no longer needed. It stays attached for
// Config.Linger, in case that it soon is again. It never blocks.
func (m *Mesh) Detach(shard uint8) { m.out.order(detach, shard, 0) }

// Send implements node.Bus.
func (m *Mesh) Send(msg log.Message) {
	do := sendEphemeral
	if m.cfg.History != nil && m.cfg.History(msg.Channel) {
		do = sendHistory
	}
	o := m.out
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.beginLocked(0)
	if c == nil {
		return
	}
	off := len(c.buf)
	c.buf = putMessage(putHeader(c.buf, kindMessage, msg.Stamp.Origin), &msg)
	o.endLocked(c, do, msg.Shard, 0, off)
}

// Mark implements node.Bus.
func (m *Mesh) Mark(k node.Mark) {
	m.be(k.Origin)
	o := m.out
	o.mu.Lock()
	defer o.mu.Unlock()
	n, full, heads := m.marks.next(&k)
	c := o.beginLocked(reserve)
	if c == nil {
		m.marks.whole = true
		return
	}
	off := len(c.buf)
	c.buf = putMark(putHeader(c.buf, kindMark, k.Origin), &k, n, full, heads)
	o.endLocked(c, sendAll, 0, 0, off)
}

// Ask implements node.Bus.
func (m *Mesh) Ask(q node.Fetch) {
	m.be(q.From)
	o := m.out
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.beginLocked(reserve)
	if c == nil {
		return
	}
	off := len(c.buf)
	c.buf = putFetch(putHeader(c.buf, kindFetch, q.From), &q)
	if q.All {
		o.endLocked(c, sendAll, 0, 0, off)
		return
	}
	o.endLocked(c, sendTo, 0, q.Origin, off)
}

// Answer implements node.Bus. Of a long one the first part goes out: who asked
// asks again from there. All of it at once would be answered by a request per
// part, and each of those by all the rest again.
func (m *Mesh) Answer(a node.Answer) {
	o := m.out
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.beginLocked(0)
	if c == nil {
		return
	}
	off := len(c.buf)
	c.buf = putAnswer(putHeader(c.buf, kindAnswer, m.self()), &a, answerBytes)
	o.endLocked(c, sendTo, 0, a.To, off)
}

// Sealed implements node.Bus.
func (m *Mesh) Sealed(origin position.Origin) {
	m.post(sendAll, 0, kindSealed, func(b []byte) []byte { return putOrigin(b, origin) })
}

// post queues a control packet that is not sent often.
func (m *Mesh) post(do action, to position.Origin, k kind, put func([]byte) []byte) bool {
	o := m.out
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.beginLocked(reserve)
	if c == nil {
		return false
	}
	off := len(c.buf)
	c.buf = put(putHeader(c.buf, k, m.self()))
	return o.endLocked(c, do, 0, to, off)
}

// marker turns a node's marks into what is sent of them: everything now and then,
// and when other origins are known or over than before; in between the heads that
// moved. Guarded by the outbox.
type marker struct {
	origin position.Origin
	n      uint64
	heads  [position.Shards]uint64
	known  []position.Origin // as last told, and over
	over   []position.Origin
	whole  bool // the next one tells all
	moved  []head
}

// wholeEvery is how often a mark tells all heads: who missed one waits 0.4 s.
const wholeEvery = 8

func (s *marker) next(k *node.Mark) (n uint64, full bool, heads []head) {
	if s.origin != k.Origin {
		*s = marker{origin: k.Origin, moved: s.moved}
	}
	full = s.whole || k.Closed || s.n%wholeEvery == 0 || !slices.Equal(s.known, k.Known) || !slices.Equal(s.over, k.Over)
	s.whole, s.known, s.over = false, k.Known, k.Over
	s.n++
	s.moved = s.moved[:0]
	for i := range s.heads {
		h := k.Heads[uint8(i)]
		if h != s.heads[i] || full && h != 0 {
			s.moved = append(s.moved, head{uint8(i), h})
		}
		s.heads[i] = h
	}
	return s.n, full, s.moved
}

// chain is the other end of a marker.
type chain struct {
	n     uint64 // of the last mark; 0: none, or one was missed
	heads [position.Shards]uint64
}

// take completes a mark. It is false if one before it was missed: what the
// heads are is known again with the next full one.
func (c *chain) take(k *node.Mark, n uint64, full bool, heads []head) bool {
	switch {
	case full:
		clear(c.heads[:])
	case c.n == 0 || n != c.n+1:
		c.n = 0
		return false
	}
	c.n = n
	for _, h := range heads {
		c.heads[h.shard] = h.sseq
	}
	k.Heads = make(map[uint8]uint64)
	for i, h := range c.heads {
		if h != 0 {
			k.Heads[uint8(i)] = h
		}
	}
	return true
}
