package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// Publisher publishes over one WebSocket: at a steady rate, or as fast as acks
// come back.
type Publisher struct {
	Seq   uint32   // of the last message sent
	Acked uint64   // answers
	Acks  *Latency // from the due time of a message to its ack; with Ack

	o       PublisherOptions
	loop    *Loop
	conn    *conn
	scanner scanner
	ready   bool
	err     error
	every   time.Duration
	next    int64 // due time of the next message; never: silent
	flying  int   // sent, not yet acked
	waiting map[uint32]int64
	frames  []byte
	payload []byte
}

// PublisherOptions of a Publisher.
type PublisherOptions struct {
	Addr    netip.AddrPort
	Token   string // API key
	Channel string
	Size    int  // bytes of a payload
	Ack     bool // ask for an ack of each message
}

// Publish connects a publisher; it is silent until Rate or Flood.
func (l *Loop) Publish(o PublisherOptions) (*Publisher, error) {
	p := &Publisher{o: o, loop: l, next: never, Acks: NewLatency(), waiting: make(map[uint32]int64)}
	c, err := l.dial(o.Addr, p)
	if err != nil {
		return nil, err
	}
	p.conn = c
	l.tickers = append(l.tickers, p)
	return p, nil
}

// Ready reports whether the publisher is welcome, or has failed.
func (p *Publisher) Ready() bool { return p.ready || p.err != nil }

// Err returns why the publisher ended; nil if it has not.
func (p *Publisher) Err() error { return p.err }

// Rate publishes so many messages per second from now on; 0 is silence.
func (p *Publisher) Rate(perSecond float64) {
	if perSecond <= 0 {
		p.next = never
		return
	}
	p.every = time.Duration(float64(time.Second) / perSecond)
	p.next = Now() + int64(p.every)
}

// Flood keeps so many messages without an ack under way; 0 ends it.
func (p *Publisher) Flood(flying int) {
	for range flying {
		p.append(Now())
	}
	p.flying = flying
	p.flush()
}

// backlog bounds what waits for the kernel, in bytes. Beyond it messages are
// made later, with the due time they had.
const backlog = 1 << 20

func (p *Publisher) tick(now int64) int64 {
	if p.next > now || p.err != nil {
		return p.next
	}
	for p.next <= now && len(p.conn.out)+len(p.frames) < backlog {
		p.append(p.next)
		p.next += int64(p.every)
	}
	p.flush()
	return p.next
}

// append makes the next message.
func (p *Publisher) append(due int64) {
	p.Seq++
	p.payload = AppendPayload(p.payload[:0], due, p.Seq, p.o.Size)
	f := &wire.Pub{Channel: p.o.Channel, Data: p.payload}
	if p.o.Ack {
		f.Ref = p.Seq
		p.waiting[p.Seq] = due
	}
	p.frames = appendFrame(p.frames, Binary, f)
}

func (p *Publisher) flush() {
	p.conn.send(p.frames)
	p.frames = p.frames[:0]
}

func (p *Publisher) connected() { p.conn.send(upgradeRequest(p.o.Addr.String(), Binary)) }

func (p *Publisher) received(b []byte) (int, error) {
	n := 0
	if p.scanner == nil {
		h, used, err := readHead(b)
		if err != nil || used == 0 {
			return 0, err
		}
		if h.status != 101 {
			return 0, fmt.Errorf("publisher refused with status %d: %s", h.status, clip(b[used:]))
		}
		p.scanner, n = &socket{}, used
		p.conn.send(appendFrame(nil, Binary, &wire.Hello{Version: 1, Token: p.o.Token, Agent: "chappe-bench publisher"}))
	}
	used, err := p.scanner.scan(b[n:], p)
	p.flush()
	return n + used, err
}

func (p *Publisher) ended(err error) {
	p.err = fmt.Errorf("publisher: %w", err)
	p.next = never
}

var errUnexpected = errors.New("a message for a publisher, which follows nothing")

func (p *Publisher) frame(f wire.Frame) {
	switch f := f.(type) {
	case *wire.Welcome:
		p.ready = true
	case *wire.Ack:
		p.Acked++
		if due, ok := p.waiting[f.Ref]; ok {
			p.Acks.Record(time.Duration(p.loop.now - due))
			delete(p.waiting, f.Ref)
		}
		if p.flying > 0 {
			p.append(Now())
		}
	case *wire.Ping:
		p.frames = appendFrame(p.frames, Binary, &wire.Pong{})
	case *wire.Err:
		p.conn.end(fmt.Errorf("the server says %s: %s", f.Code, f.Text))
	}
}

func (p *Publisher) message(_, _ []byte) { p.conn.end(errUnexpected) }
func (p *Publisher) ping(payload []byte) { p.frames = appendMasked(p.frames, 10, payload) }
func (p *Publisher) id(_ []byte)         {}
