package load

import (
	"fmt"
	"time"
)

// Poster publishes over one keep-alive HTTP connection: the next message when
// the last one is answered.
type Poster struct {
	Seq     uint32   // of the last message sent
	Done    uint64   // answers 2xx
	Latency *Latency // from sending to the answer

	o       PublisherOptions
	loop    *Loop
	conn    *conn
	head    []byte
	request []byte
	sent    int64
	going   bool
	idle    bool // connected, nothing under way
	err     error
}

// Post connects a poster; it is silent until Go.
func (l *Loop) Post(o PublisherOptions, to *Latency) (*Poster, error) {
	p := &Poster{Latency: to, o: o, loop: l, head: publishHead(o.Addr.String(), o.Channel, o.Token, o.Size)}
	c, err := l.dial(o.Addr, p)
	if err != nil {
		return nil, err
	}
	p.conn = c
	return p, nil
}

// Ready reports whether the poster is connected, or has failed.
func (p *Poster) Ready() bool { return p.idle || p.err != nil }

// Idle reports whether nothing is under way.
func (p *Poster) Idle() bool { return p.idle || p.err != nil }

// Err returns why the poster ended; nil if it has not.
func (p *Poster) Err() error { return p.err }

// Go publishes until Stop.
func (p *Poster) Go() {
	p.going = true
	if p.idle {
		p.post()
	}
}

// Stop lets the message under way be the last.
func (p *Poster) Stop() { p.going = false }

func (p *Poster) post() {
	p.idle = false
	p.Seq++
	p.sent = Now()
	p.request = append(p.request[:0], p.head...)
	p.request = AppendPayload(p.request, p.sent, p.Seq, p.o.Size)
	p.conn.send(p.request)
}

func (p *Poster) connected() { p.idle = true }

func (p *Poster) received(b []byte) (int, error) {
	h, n, err := readHead(b)
	switch {
	case err != nil:
		return 0, err
	case n == 0, h.length > len(b)-n:
		return 0, nil
	case h.length < 0:
		return 0, fmt.Errorf("%w: a publish answered without Content-Length", errHead)
	case h.status/100 != 2:
		return 0, fmt.Errorf("publish refused with status %d: %s", h.status, clip(b[n:n+h.length]))
	}
	p.Done++
	p.Latency.Record(time.Duration(p.loop.now - p.sent))
	if p.going {
		p.post()
	} else {
		p.idle = true
	}
	return n + h.length, nil
}

func (p *Poster) ended(err error) { p.err = fmt.Errorf("poster: %w", err) }
