package mesh

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chappe-relay/chappe/relay/position"
)

// source is what is known of an origin that sends.
type source struct {
	region string
	heard  time.Time
	heads  [position.Shards]uint64 // newest sseq that came by itself
	marks  chain
}

// maxSources bounds what forged packets can make us remember.
const maxSources = 4096

// pump moves packets from the connection to the inbox. It never waits for the
// node: a subscriber that does is cut off by the server.
func (m *Mesh) pump(stop <-chan struct{}) {
	batch := make([]*nats.Msg, 0, 256)
	for {
		select {
		case <-stop:
			return
		case msg := <-m.arrived:
			batch = append(batch[:0], msg)
			for more := true; more && len(batch) < cap(batch); {
				select {
				case msg := <-m.arrived:
					batch = append(batch, msg)
				default:
					more = false
				}
			}
			m.in.put(batch)
		}
	}
}

// receive hands packets to the node, in order.
func (m *Mesh) receive(ctx context.Context, r Receiver, stop <-chan struct{}, work *sync.WaitGroup) {
	for {
		select {
		case <-stop:
			return
		case <-m.in.wake:
			for _, msg := range m.in.take() {
				if err := m.take(ctx, r, msg, work); err != nil {
					m.unread(msg, err)
				}
			}
		}
	}
}

// take hands on one packet. An error means that it cannot be read.
func (m *Mesh) take(ctx context.Context, r Receiver, msg *nats.Msg, work *sync.WaitGroup) error {
	region, _, ok := split(msg.Subject)
	if !ok {
		return errShort
	}
	k, from, body, err := header(msg.Data)
	if err != nil {
		return err
	}
	if region == m.cfg.Region && m.isSelf(from) {
		return nil // our own, which the region's subjects bring back
	}
	s := m.source(region, from)
	if s == nil {
		m.counts.foreign.Add(1)
		return nil
	}
	m.counts.received.Add(1)
	switch k {
	case kindMessage:
		msg, err := message(body, from)
		if err != nil {
			return err
		}
		if msg.SSeq <= s.heads[msg.Shard] {
			m.counts.repeated.Add(1)
		}
		s.heads[msg.Shard] = max(s.heads[msg.Shard], msg.SSeq)
		r.OnMessage(msg)
	case kindMark:
		k, n, full, heads, err := mark(body, from)
		if err != nil {
			return err
		}
		if !s.marks.take(&k, n, full, heads) {
			r.OnHeard(from) // how far it has come is known with the next full one
			return nil
		}
		m.members.marked(from, k.Tick, m.cfg.Clock().UnixMicro())
		r.OnMark(k)
	case kindFetch:
		q, err := fetch(body, from)
		if err != nil {
			return err
		}
		if m.repairs.due(&q, time.Now()) {
			m.counts.fetches.Add(1)
			r.OnFetch(q)
		}
	case kindAnswer:
		a, err := answer(body)
		if err != nil {
			return err
		}
		// Only the origin itself knows what is gone for good.
		a.Authoritative = a.Authoritative && from == a.Origin
		a.Foreign = from != a.Origin && !m.members.same(from, a.Origin)
		m.counts.repaired.Add(uint64(len(a.Messages)))
		r.OnAnswer(a)
	case kindSealed:
		o, err := sealed(body)
		if err != nil {
			return err
		}
		r.OnSealed(o)
	case kindAnnounce:
		return m.meet(r, region, from, body)
	case kindRequest:
		return m.serve(ctx, from, body, work)
	case kindResponse:
		return m.asking.answered(body)
	case kindNote:
		return m.note(from, body)
	case kindSecret:
		return m.secret(region, from, msg.Data)
	default:
		return errVersion
	}
	return nil
}

// source is the storm guard: an origin belongs to the region it first spoke
// from, and nobody else may speak for it. Nil refuses the packet.
func (m *Mesh) source(region string, from position.Origin) *source {
	if !(*m.trusted.Load())[region] {
		return nil
	}
	s := m.sources[from]
	if s == nil {
		if from == 0 || m.isSelf(from) || region == m.cfg.Region && m.cfg.Route == "" {
			return nil
		}
		if len(m.sources) >= maxSources && !m.forget() {
			return nil
		}
		s = &source{region: region}
		m.sources[from] = s
	}
	if s.region != region {
		return nil
	}
	s.heard = time.Now()
	return s
}

// forget drops sources that have been silent for long. It looks once a second:
// strangers must not make it look at every packet.
func (m *Mesh) forget() bool {
	if time.Since(m.forgot) < time.Second {
		return false
	}
	m.forgot = time.Now()
	before := len(m.sources)
	for o, s := range m.sources {
		if time.Since(s.heard) > 5*time.Minute {
			delete(m.sources, o)
		}
	}
	return len(m.sources) < before
}
