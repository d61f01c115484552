package session

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/wire"
)

// maxName bounds an id, a key and an event name, in bytes.
const maxName = 64

// Publish checks a message and publishes it. The payload is kept and must not
// be changed afterwards.
func (h *Host) Publish(who *identity.Identity, p *wire.Pub) (*wire.Ack, *wire.Err) {
	return h.publish(who, 0, p)
}

// PublishAs is Publish for an upstream frame of a session: Quiet excludes it.
func (s *Session) PublishAs(p *wire.Pub) (*wire.Ack, *wire.Err) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publishLocked(p)
}

func (h *Host) publish(who *identity.Identity, sender uint64, p *wire.Pub) (*wire.Ack, *wire.Err) {
	ack, err := h.tryPublish(who, sender, p)
	if err != nil {
		h.cfg.Observer.Published(err.Code)
		return nil, err
	}
	h.cfg.Observer.Published("")
	return ack, nil
}

func (h *Host) tryPublish(who *identity.Identity, sender uint64, p *wire.Pub) (*wire.Ack, *wire.Err) {
	if err := channel.Check(p.Channel); err != nil {
		return nil, &wire.Err{Code: wire.CodeBadChannel, Text: err.Error()}
	}
	if err := h.may(who, identity.Publish, p.Channel); err != nil {
		return nil, err
	}
	o := h.cfg.Node.Table().For(p.Channel)
	switch {
	case len(p.Data) > o.Message:
		return nil, &wire.Err{Code: wire.CodeTooBig, Text: fmt.Sprintf("a payload is at most %d bytes here", o.Message)}
	case len(p.ID) > maxName || len(p.Key) > maxName || len(p.Event) > maxName:
		return nil, &wire.Err{Code: wire.CodeBadRequest, Text: "id, key and event are at most 64 bytes"}
	case !plain(p.ID) || !plain(p.Key):
		return nil, &wire.Err{Code: wire.CodeBadRequest, Text: "id and key are printable text"}
	case !eventName(p.Event):
		return nil, &wire.Err{Code: wire.CodeBadRequest, Text: "an event name is made of A-Z a-z 0-9 . _ - and is not one of the server's"}
	case p.TTL < 0:
		return nil, &wire.Err{Code: wire.CodeBadRequest, Text: "ttl is not negative"}
	case p.Ack != "" && p.Ack != "local" && p.Ack != "stored" && p.Ack != "replicated":
		return nil, &wire.Err{Code: wire.CodeBadRequest, Text: "ack is local, stored or replicated"}
	case p.Ack == "stored" || p.Ack == "replicated":
		return nil, &wire.Err{Code: wire.CodeUnsupported, Text: "this node keeps no store: ack is local"}
	}
	pub := node.Publication{TTL: time.Duration(p.TTL) * time.Millisecond}
	pub.Channel, pub.ID, pub.Key, pub.Event, pub.From, pub.Data = p.Channel, p.ID, p.Key, p.Event, who.User, p.Data
	pub.Scope = "u:" + who.User
	if who.Key != "" {
		pub.Scope = "k:" + who.Key
	}
	if p.Quiet {
		pub.Sender = sender
	}
	stamp, dup := h.cfg.Node.Publish(pub)
	return &wire.Ack{Ref: p.Ref, Stamp: stamp, Dup: dup}, nil
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

func (s *Session) pubLocked(f *wire.Pub) {
	ack, err := s.publishLocked(f)
	switch {
	case err != nil:
		s.errLocked(f.Ref, f.Channel, err)
	case f.Ref != 0:
		s.sayLocked(ack)
	}
}

func (s *Session) publishLocked(f *wire.Pub) (*wire.Ack, *wire.Err) {
	if wait := s.spendLocked(); wait > 0 {
		s.host.cfg.Observer.Published(wire.CodeRateLimited)
		return nil, &wire.Err{Code: wire.CodeRateLimited, Text: "publishing too fast", Retry: wait.Milliseconds() + 1}
	}
	ack, err := s.host.publish(s.who, s.number, f)
	if err == nil {
		s.stats.msgsIn++
	}
	return ack, err
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
