package session

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
)

// maxName bounds an id, a key and an event name, in bytes.
const maxName = 64

// Ledger knows how widely messages are kept. Its methods may be called from any
// goroutine.
type Ledger interface {
	// Check refuses what cannot be had: CodeUnsupported, or now: CodeOverloaded.
	Check(replicated bool) *wire.Err
	// Await calls done once, from any goroutine and never before it returns: with
	// nil when the message is kept in this node's store, or with replicated also in
	// one of another region; with CodeAckTimeout when that is not known in time, and
	// with CodeNotStored when it found no room.
	Await(r node.Receipt, replicated bool, done func(*wire.Err))
}

// The levels of an acknowledgement (PROTOCOL §7).
const (
	ackLocal      = "local"
	ackStored     = "stored"
	ackReplicated = "replicated"
)

// Publish checks a message and publishes it. The payload is kept and must not
// be changed afterwards. It waits where a plugin is asked, and until the message
// is kept as widely as it asks.
func (h *Host) Publish(who *identity.Identity, remote string, p *wire.Pub) (*wire.Ack, *wire.Err) {
	ack, r, err := h.publish(&policy.Client{Identity: who, Remote: remote}, 0, p)
	return h.settled(p, ack, r, err)
}

// PublishAs is Publish for a session: Quiet excludes it.
func (s *Session) PublishAs(p *wire.Pub) (*wire.Ack, *wire.Err) {
	ack, r, err := s.publish(p)
	return s.host.settled(p, ack, r, err)
}

// settled waits for the level of acknowledgement that was asked for.
func (h *Host) settled(p *wire.Pub, ack *wire.Ack, r node.Receipt, err *wire.Err) (*wire.Ack, *wire.Err) {
	if err != nil || !lasting(p) || r.SSeq == 0 {
		return ack, err
	}
	done := make(chan *wire.Err, 1)
	h.cfg.Ledger.Await(r, p.Ack == ackReplicated, func(err *wire.Err) { done <- err })
	if err := <-done; err != nil {
		h.cfg.Observer.Published(err.Code)
		return nil, err
	}
	return ack, nil
}

// lasting reports whether more than a local acknowledgement is asked for.
func lasting(p *wire.Pub) bool { return p.Ack == ackStored || p.Ack == ackReplicated }

func (s *Session) publish(p *wire.Pub) (*wire.Ack, node.Receipt, *wire.Err) {
	s.mu.Lock()
	wait := s.spendLocked()
	c, sender := s.clientLocked(), s.number
	s.mu.Unlock()
	if wait > 0 {
		s.host.cfg.Observer.Published(wire.CodeRateLimited)
		return nil, node.Receipt{}, &wire.Err{Code: wire.CodeRateLimited, Text: "publishing too fast", Retry: wait.Milliseconds() + 1}
	}
	ack, r, err := s.host.publish(c, sender, p)
	if err == nil {
		s.mu.Lock()
		s.stats.msgsIn++
		s.mu.Unlock()
	}
	return ack, r, err
}

func (h *Host) publish(c *policy.Client, sender uint64, p *wire.Pub) (*wire.Ack, node.Receipt, *wire.Err) {
	r, err := h.tryPublish(c, sender, p)
	if err != nil {
		h.cfg.Observer.Published(err.Code)
		return nil, r, err
	}
	h.cfg.Observer.Published("")
	return &wire.Ack{Ref: p.Ref, Stamp: r.Stamp, Dup: r.Dup}, r, nil
}

func (h *Host) tryPublish(c *policy.Client, sender uint64, p *wire.Pub) (r node.Receipt, err *wire.Err) {
	if err := channel.Check(p.Channel); err != nil {
		return r, &wire.Err{Code: wire.CodeBadChannel, Text: err.Error()}
	}
	if err := h.may(c.Identity, identity.Publish, p.Channel); err != nil {
		return r, err
	}
	if err := h.checkPub(p); err != nil {
		return r, err
	}
	pub := node.Publication{TTL: time.Duration(p.TTL) * time.Millisecond}
	pub.Channel, pub.ID, pub.Key, pub.Event, pub.From, pub.Data = p.Channel, p.ID, p.Key, p.Event, c.Identity.User, p.Data
	pub.Scope = "u:" + c.Identity.User
	if c.Identity.Key != "" {
		pub.Scope = "k:" + c.Identity.Key
	}
	if p.Quiet {
		pub.Sender = sender
	}
	if h.cfg.Policy == nil {
		return h.cfg.Node.Publish(pub), nil
	}
	return h.publishAsked(c, p, &pub)
}

// publishAsked publishes what the publish hook makes of a message. A message that
// is here already is not shown to it again.
func (h *Host) publishAsked(c *policy.Client, p *wire.Pub, pub *node.Publication) (r node.Receipt, err *wire.Err) {
	if pub.ID != "" {
		if r, dup := h.cfg.Node.Published(pub.Scope, pub.Channel, pub.ID); dup {
			return r, nil
		}
	}
	var fan []policy.Copy
	err = h.cfg.Policy.Publish(c, p, func(out *policy.Publication) {
		fan = out.Fan
		if !out.Drop {
			pub.Data, pub.Filter = out.Msg.Data, out.Filter
			r = h.cfg.Node.Publish(*pub)
		}
	})
	if err != nil {
		return r, err
	}
	for i := range fan {
		h.fan(c, pub, &fan[i])
	}
	return r, nil
}

// fan publishes one further message that a hook asked for: as its publisher, as
// the target channel's own plugin leaves it, and without a fan of its own.
func (h *Host) fan(c *policy.Client, of *node.Publication, to *policy.Copy) {
	p := &wire.Pub{Channel: to.Channel, Key: of.Key, Event: of.Event, Data: to.Data}
	err := h.checkPub(p)
	if channel.Check(to.Channel) != nil {
		err = &wire.Err{Code: wire.CodeBadChannel}
	}
	if err == nil {
		pub := node.Publication{TTL: of.TTL, Sender: of.Sender}
		pub.Channel, pub.Key, pub.Event, pub.From = to.Channel, of.Key, of.Event, of.From
		err = h.cfg.Policy.Publish(c, p, func(out *policy.Publication) {
			if !out.Drop {
				pub.Data, pub.Filter = out.Msg.Data, out.Filter
				h.cfg.Node.Publish(pub)
			}
		})
	}
	if err != nil {
		h.cfg.Observer.Published(err.Code)
	}
}

// checkPub checks the fields of a message.
func (h *Host) checkPub(p *wire.Pub) *wire.Err {
	o := h.cfg.Node.Table().For(p.Channel)
	switch {
	case len(p.Data) > o.Message:
		return &wire.Err{Code: wire.CodeTooBig, Text: fmt.Sprintf("a payload is at most %d bytes here", o.Message)}
	case len(p.ID) > maxName || len(p.Key) > maxName || len(p.Event) > maxName:
		return &wire.Err{Code: wire.CodeBadRequest, Text: "id, key and event are at most 64 bytes"}
	case !plain(p.ID) || !plain(p.Key):
		return &wire.Err{Code: wire.CodeBadRequest, Text: "id and key are printable text"}
	case !eventName(p.Event):
		return &wire.Err{Code: wire.CodeBadRequest, Text: "an event name is made of A-Z a-z 0-9 . _ - and is not one of the server's"}
	case p.TTL < 0:
		return &wire.Err{Code: wire.CodeBadRequest, Text: "ttl is not negative"}
	case p.Ack != "" && p.Ack != ackLocal && !lasting(p):
		return &wire.Err{Code: wire.CodeBadRequest, Text: "ack is local, stored or replicated"}
	case lasting(p) && h.cfg.Ledger == nil:
		return &wire.Err{Code: wire.CodeUnsupported, Text: "this node keeps no store: ack is local"}
	case lasting(p) && !o.History:
		return &wire.Err{Code: wire.CodeNoHistory, Text: "this namespace keeps no history: ack is local"}
	case lasting(p):
		return h.cfg.Ledger.Check(p.Ack == ackReplicated)
	}
	return nil
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func eventName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return !ReservedEvents[s]
}

// pub answers a pub frame. What waits to be kept holds up no other frame.
func (s *Session) pub(f *wire.Pub) {
	ack, r, err := s.publish(f)
	if err == nil && lasting(f) && r.SSeq != 0 {
		ref, channel := f.Ref, f.Channel
		s.host.cfg.Ledger.Await(r, f.Ack == ackReplicated, func(err *wire.Err) {
			s.acked(ref, channel, ack, err)
			s.link.Kick() // Receive has returned: nobody else says that there is an answer
		})
		return
	}
	s.acked(f.Ref, f.Channel, ack, err)
}

func (s *Session) acked(ref uint32, channel string, ack *wire.Ack, err *wire.Err) {
	if err == nil && ref == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.errLocked(ref, channel, err)
		return
	}
	s.sayLocked(ack)
}

// spendLocked takes one publish from the bucket, or says how long until there is one.
func (s *Session) spendLocked() time.Duration {
	l := s.host.Limits()
	if s.who.Backend || l.Rate <= 0 {
		return 0
	}
	now, r := s.host.cfg.Now(), s.rareLocked()
	if r.bucketAt.IsZero() {
		r.bucket = float64(l.Burst)
	} else {
		r.bucket = min(float64(l.Burst), r.bucket+now.Sub(r.bucketAt).Seconds()*float64(l.Rate))
	}
	r.bucketAt = now
	if r.bucket < 1 {
		return time.Duration((1 - r.bucket) / float64(l.Rate) * float64(time.Second))
	}
	r.bucket--
	return 0
}

// publicID is how other clients and log lines name a session.
func publicID(number uint64) string {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], number)
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// numberOf reads a public id; 0: it is none.
func numberOf(id string) uint64 {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(raw)
}
