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

// Publish checks a message and publishes it. The payload is kept and must not
// be changed afterwards. It waits where a plugin is asked.
func (h *Host) Publish(who *identity.Identity, remote string, p *wire.Pub) (*wire.Ack, *wire.Err) {
	return h.publish(&policy.Client{Identity: who, Remote: remote}, 0, p)
}

// PublishAs is Publish for an upstream frame of a session: Quiet excludes it.
func (s *Session) PublishAs(p *wire.Pub) (*wire.Ack, *wire.Err) {
	s.mu.Lock()
	wait := s.spendLocked()
	c, sender := s.clientLocked(), s.number
	s.mu.Unlock()
	if wait > 0 {
		s.host.cfg.Observer.Published(wire.CodeRateLimited)
		return nil, &wire.Err{Code: wire.CodeRateLimited, Text: "publishing too fast", Retry: wait.Milliseconds() + 1}
	}
	ack, err := s.host.publish(c, sender, p)
	if err == nil {
		s.mu.Lock()
		s.stats.msgsIn++
		s.mu.Unlock()
	}
	return ack, err
}

func (h *Host) publish(c *policy.Client, sender uint64, p *wire.Pub) (*wire.Ack, *wire.Err) {
	ack, err := h.tryPublish(c, sender, p)
	if err != nil {
		h.cfg.Observer.Published(err.Code)
		return nil, err
	}
	h.cfg.Observer.Published("")
	return ack, nil
}

func (h *Host) tryPublish(c *policy.Client, sender uint64, p *wire.Pub) (*wire.Ack, *wire.Err) {
	if err := channel.Check(p.Channel); err != nil {
		return nil, &wire.Err{Code: wire.CodeBadChannel, Text: err.Error()}
	}
	if err := h.may(c.Identity, identity.Publish, p.Channel); err != nil {
		return nil, err
	}
	if err := h.checkPub(p); err != nil {
		return nil, err
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
		stamp, dup := h.cfg.Node.Publish(pub)
		return &wire.Ack{Ref: p.Ref, Stamp: stamp, Dup: dup}, nil
	}
	return h.publishAsked(c, p, &pub)
}

// publishAsked publishes what the publish hook makes of a message. A message that
// is here already is not shown to it again.
func (h *Host) publishAsked(c *policy.Client, p *wire.Pub, pub *node.Publication) (*wire.Ack, *wire.Err) {
	if pub.ID != "" {
		if stamp, dup := h.cfg.Node.Published(pub.Scope, pub.Channel, pub.ID); dup {
			return &wire.Ack{Ref: p.Ref, Stamp: stamp, Dup: true}, nil
		}
	}
	ack := &wire.Ack{Ref: p.Ref}
	var fan []policy.Copy
	err := h.cfg.Policy.Publish(c, p, func(out *policy.Publication) {
		fan = out.Fan
		if !out.Drop {
			pub.Data, pub.Filter = out.Msg.Data, out.Filter
			ack.Stamp, ack.Dup = h.cfg.Node.Publish(*pub)
		}
	})
	if err != nil {
		return nil, err
	}
	for i := range fan {
		h.fan(c, pub, &fan[i])
	}
	return ack, nil
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
	case p.Ack != "" && p.Ack != "local" && p.Ack != "stored" && p.Ack != "replicated":
		return &wire.Err{Code: wire.CodeBadRequest, Text: "ack is local, stored or replicated"}
	case p.Ack == "stored" || p.Ack == "replicated":
		return &wire.Err{Code: wire.CodeUnsupported, Text: "this node keeps no store: ack is local"}
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

// pub answers a pub frame.
func (s *Session) pub(f *wire.Pub) {
	ack, err := s.PublishAs(f)
	if err == nil && f.Ref == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.errLocked(f.Ref, f.Channel, err)
		return
	}
	s.sayLocked(ack)
}

// spendLocked takes one publish from the bucket, or says how long until there is one.
func (s *Session) spendLocked() time.Duration {
	l := &s.host.cfg.Limits
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
