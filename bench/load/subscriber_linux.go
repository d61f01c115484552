package load

import (
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Subscriber is one connection with one subscription.
type Subscriber struct {
	Tally
	Channel string

	crew     *Audience
	conn     *conn
	scanner  scanner // nil until the response's head is there
	sampled  bool
	standing bool
	dialed   int64             // Unix nanoseconds
	track    *position.Tracker // WebSocket forms that follow their position
	cursor   []byte            // SSE: the last id
	err      error             // why the connection ended
}

// Err returns why the subscriber's connection ended; nil while it has not.
func (s *Subscriber) Err() error { return s.err }

// Port returns the local port of the subscriber's connection.
func (s *Subscriber) Port() uint16 { return s.conn.port() }

// Pause stops reading from the connection; Resume goes on.
func (s *Subscriber) Pause()  { s.conn.pause() }
func (s *Subscriber) Resume() { s.conn.resume() }

// Pong shows the server that the subscriber is alive, which it also is while it
// does not read: any inbound byte counts.
func (s *Subscriber) Pong() {
	if s.crew.o.Form != SSE {
		s.conn.send(appendFrame(nil, s.crew.o.Form, &wire.Pong{}))
	}
}

// Cursor returns the position after the last message; "" without Follow, or
// before the subscription stood.
func (s *Subscriber) Cursor() string {
	if s.track != nil {
		return s.track.Cursor(s.Channel)
	}
	return string(s.cursor)
}

func (s *Subscriber) connected() {
	o := &s.crew.o
	if o.Form == SSE {
		s.conn.send(eventsRequest(o.Addr.String(), s.Channel, o.Token, s.Cursor()))
		return
	}
	s.conn.send(upgradeRequest(o.Addr.String(), o.Form))
}

func (s *Subscriber) received(b []byte) (int, error) {
	if s.scanner != nil {
		return s.scanner.scan(b, s)
	}
	h, n, err := readHead(b)
	if err != nil || n == 0 {
		return n, err
	}
	o := &s.crew.o
	switch {
	case o.Form == SSE && h.status == 200:
		s.scanner = &events{chunked: h.chunked}
	case o.Form != SSE && h.status == 101:
		s.scanner = &socket{size: o.Size}
		hello := &wire.Hello{Version: 1, Token: o.Token, Agent: "chappe-bench", Subs: []wire.Sub{{Channel: s.Channel, Cursor: s.Cursor()}}}
		s.conn.send(appendFrame(nil, o.Form, hello))
	default:
		return n, fmt.Errorf("refused with status %d: %s", h.status, clip(b[n:]))
	}
	used, err := s.scanner.scan(b[n:], s)
	return n + used, err
}

func (s *Subscriber) ended(err error) {
	s.err = err
	s.crew.gone(s)
}

func (s *Subscriber) stand() {
	if s.standing {
		return
	}
	s.standing = true
	s.crew.stood(s)
}

func (s *Subscriber) message(payload, frame []byte) {
	seq, ok := Sequence(payload)
	if !ok {
		s.Foreign++
		return
	}
	s.Tally.message(seq)
	if s.sampled {
		s.crew.o.Window.record(Due(payload), s.crew.loop.now)
	}
	if s.track != nil {
		s.follow(frame)
	}
}

// follow lifts the position. It decodes the whole frame: for slow scenarios.
func (s *Subscriber) follow(frame []byte) {
	var fs []wire.Frame
	var err error
	if s.crew.o.Form == JSON {
		fs, err = wire.DecodeJSON(frame, wire.FromServer)
	} else {
		fs, err = wire.DecodeBinary(frame, wire.FromServer)
	}
	if err == nil && len(fs) == 1 {
		if m, ok := fs[0].(*wire.Msg); ok {
			s.track.Message(s.Channel, m.Channel, m.Stamp)
			return
		}
	}
	s.Foreign++
}

var errUnsubscribed = errors.New("the subscription ended")

func (s *Subscriber) frame(f wire.Frame) {
	switch f := f.(type) {
	case *wire.Subbed:
		if s.track != nil && s.track.Cursor(s.Channel) == "" {
			if err := s.track.Subscribed(s.Channel, f.Cursor); err != nil {
				s.conn.end(fmt.Errorf("subbed: %w", err))
				return
			}
		}
		s.stand()
	case *wire.Gap:
		s.Gaps++
		s.Told += f.Count
	case *wire.Progress:
		if s.track != nil {
			if err := s.track.Progress(f.Cursor); err != nil {
				s.conn.end(fmt.Errorf("progress: %w", err))
			}
		}
	case *wire.Ping:
		s.conn.send(appendFrame(nil, s.crew.o.Form, &wire.Pong{}))
	case *wire.Err:
		s.conn.end(fmt.Errorf("the server says %s: %s", f.Code, f.Text))
	case *wire.Unsubbed:
		s.conn.end(fmt.Errorf("%w: %s %s", errUnsubscribed, f.Code, f.Text))
	}
}

func (s *Subscriber) ping(payload []byte) { s.conn.send(appendMasked(nil, 10, payload)) }

func (s *Subscriber) id(cursor []byte) {
	if s.crew.o.Follow {
		s.cursor = append(s.cursor[:0], cursor...)
	}
	s.stand()
}
