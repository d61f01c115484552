package chappe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/relay/wire"
)

// maxFrame bounds one WebSocket message from a relay: a page of history of the
// usual 1000 entries of 16 KiB.
const maxFrame = 16 << 20

// maxScratch bounds the read buffer that a connection keeps for itself.
const maxScratch = 64 << 10

var (
	errDead    = errors.New("the relay was silent for too long")
	errDrained = errors.New("the relay is draining")
)

// link is one WebSocket to one relay. The run goroutine reads it; one goroutine
// writes it.
type link struct {
	// Immutable.
	c    *Client
	v    *visit
	ctx  context.Context // of this connection
	conn *websocket.Conn
	bin  bool
	born time.Time

	heard   atomic.Int64 // when something was last read: time since born
	said    atomic.Int64 // when something was last written
	waiting atomic.Bool  // the reader waits for an application, not for the relay
	cause   atomic.Pointer[loss]

	// Guarded by c.mu.
	welcome  *wire.Welcome // nil before it came
	progress string        // newest position that the relay told

	// Owned by the run goroutine.
	reader  reader
	scratch []byte
	last    *wire.Err // an error of the session: the close that follows explains less
	timers  []*time.Timer

	tasks sync.WaitGroup // writer and token refresh

	mu   sync.Mutex
	out  [][]byte
	kick chan struct{} // capacity 1: out is not empty
}

// websockets is the transport "ws".
type websockets struct{ c *Client }

func (t websockets) serve(v *visit) loss {
	c := t.c
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	token, ticket, err := c.auth.show(ctx)
	if err != nil {
		return loss{err: err}
	}
	conn, end := c.dial(ctx, v)
	if conn == nil {
		return end
	}
	l := &link{
		c: c, v: v, ctx: ctx, conn: conn, bin: c.o.Format != "json",
		born: time.Now(), kick: make(chan struct{}, 1),
	}
	l.reader = reader{c: c, wait: l.await}
	l.tasks.Go(l.write)
	l.open(token, ticket)
	l.after(v.patience(), func() {
		c.mu.Lock()
		late := l.welcome == nil
		c.mu.Unlock()
		if late {
			l.fail(loss{err: fmt.Errorf("no welcome from %s within %s", v.base, v.patience())})
		}
	})
	end = l.read()
	if told := l.cause.Load(); told != nil {
		end = *told
	}
	c.mu.Lock()
	c.link = nil
	for _, s := range c.subs {
		s.sent, s.standing = false, false
	}
	c.mu.Unlock()
	for _, timer := range l.timers {
		timer.Stop()
	}
	cancel()
	conn.CloseNow()
	l.tasks.Wait()
	return end
}

// dial upgrades a connection. A nil conn comes with the reason.
func (c *Client) dial(ctx context.Context, v *visit) (*websocket.Conn, loss) {
	base := v.base
	ctx, cancel := context.WithTimeout(ctx, v.patience())
	defer cancel()
	protocol := "chappe.v1.bin"
	if c.o.Format == "json" {
		protocol = "chappe.v1.json"
	}
	conn, resp, err := websocket.Dial(ctx, base+"/v1/ws", &websocket.DialOptions{
		HTTPClient:   c.http,
		Subprotocols: []string{protocol},
	})
	switch {
	case err == nil && conn.Subprotocol() != protocol:
		conn.CloseNow()
		return nil, loss{err: fmt.Errorf("%s does not speak %s", base, protocol)}
	case err == nil:
		conn.SetReadLimit(maxFrame)
		return conn, loss{}
	case resp != nil && resp.StatusCode != 0:
		return nil, lossOfResponse(resp)
	}
	return nil, loss{err: fmt.Errorf("connect to %s: %w", base, err)}
}

// open says hello, with all that the client wants to be told, and makes the
// link known: what is asked for from now on goes out behind the welcome.
func (l *link) open(token, ticket string) {
	c := l.c
	hello := &wire.Hello{Version: 1, Token: token, Resume: ticket, Agent: agent}
	if c.o.Agent != "" {
		hello.Agent += " " + c.o.Agent
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.granted)
	for _, s := range c.subs {
		hello.Subs = append(hello.Subs, s.wishLocked(0))
	}
	c.link = l
	l.send(hello)
}

// wishLocked returns the sub frame that puts s where it stood.
func (s *Subscription) wishLocked(ref uint32) wire.Sub {
	s.sent, s.standing, s.ref = true, false, ref
	w := wire.Sub{Ref: ref, Channel: s.name, Policy: s.opts.Policy, Presence: s.opts.Presence, Cursor: s.got.cursor(), Pass: s.pass}
	if !s.began && w.Cursor == "" {
		w.Last = s.opts.Last
	}
	return w
}

// askLocked asks for a subscription, now or behind the welcome.
func (l *link) askLocked(s *Subscription) {
	if l.welcome == nil || s.sent {
		return
	}
	w := s.wishLocked(l.c.nextRefLocked())
	l.send(&w)
}

// send queues a frame. The queue is bounded by the number of callers: each
// waits for its answer.
func (l *link) send(f wire.Frame) {
	b := encode(f, l.bin)
	l.mu.Lock()
	l.out = append(l.out, b)
	l.mu.Unlock()
	signal(l.kick)
}

func (l *link) write() {
	kind := websocket.MessageText
	if l.bin {
		kind = websocket.MessageBinary
	}
	for {
		select {
		case <-l.kick:
		case <-l.ctx.Done():
			return
		}
		l.mu.Lock()
		out := l.out
		l.out = nil
		l.mu.Unlock()
		for _, b := range out {
			if err := l.conn.Write(l.ctx, kind, b); err != nil {
				l.fail(loss{err: fmt.Errorf("write: %w", err)})
				return
			}
			l.said.Store(int64(time.Since(l.born)))
		}
	}
}

// fail ends the link from our side; the first cause counts.
func (l *link) fail(end loss) {
	if l.cause.CompareAndSwap(nil, &end) {
		l.conn.CloseNow()
	}
}

// leave takes leave of the relay; the reader then ends.
func (l *link) leave() { l.conn.Close(websocket.StatusNormalClosure, "") }

// after runs f unless the link ends before. Only the run goroutine calls it.
func (l *link) after(d time.Duration, f func()) {
	l.timers = append(l.timers, time.AfterFunc(d, f))
}

// read hands on what the relay sends until the link ends.
func (l *link) read() loss {
	for {
		data, err := l.next()
		if err != nil {
			return l.lossOf(err)
		}
		frames, err := decode(data, l.bin)
		if err != nil {
			return loss{err: fmt.Errorf("a message of the relay: %w", err)}
		}
		for _, f := range frames {
			l.handle(f)
		}
	}
}

// next reads one message. Every piece of it counts as life: a big message on a
// slow line must not look like silence.
func (l *link) next() ([]byte, error) {
	_, r, err := l.conn.Reader(l.ctx)
	if err != nil {
		return nil, err
	}
	data := l.scratch[:0]
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if n > 0 {
			l.heard.Store(int64(time.Since(l.born)))
		}
		switch {
		case err == io.EOF:
			if cap(data) <= maxScratch {
				l.scratch = data
			}
			if l.bin {
				return slices.Clone(data), nil // payloads will be parts of it
			}
			return data, nil
		case err != nil:
			return nil, err
		case len(data) == cap(data):
			data = slices.Grow(data, max(512, len(data)))
		}
	}
}

// watch drops the link when the relay has been silent for dead. The time that
// the reader waited for the application is not the relay's.
func (l *link) watch(dead time.Duration) {
	var timer *time.Timer
	timer = time.AfterFunc(dead, func() {
		if l.waiting.Load() {
			timer.Reset(dead)
			return
		}
		silent := time.Since(l.born) - time.Duration(l.heard.Load())
		if silent >= dead {
			l.fail(loss{err: errDead})
			return
		}
		timer.Reset(dead - silent)
	})
	l.timers = append(l.timers, timer)
}

// await waits until a subscription has room, at most Options.Patience. Pings
// wait unread meanwhile, and behind a backlog they wait long: so it says pong
// unasked, at half the interval in which the relay wants to hear something.
func (l *link) await(s *Subscription) bool {
	c := l.c
	if c.o.Patience < 0 {
		return false
	}
	l.waiting.Store(true)
	defer func() {
		l.heard.Store(int64(time.Since(l.born)))
		l.waiting.Store(false)
	}()
	half := time.Hour
	if w := l.welcome; w != nil && w.Ping > 0 { // the run goroutine wrote it
		half = max(advice(w.Ping)/2, time.Millisecond)
	}
	patience := time.NewTimer(c.o.Patience)
	defer patience.Stop()
	for {
		quiet := time.Since(l.born) - time.Duration(l.said.Load())
		if quiet >= half {
			l.send(&wire.Pong{})
			quiet = 0
		}
		pong := time.NewTimer(half - quiet)
		select {
		case <-s.space:
			pong.Stop()
			return true
		case <-s.done:
			pong.Stop()
			return true // push sees the end
		case <-patience.C:
			pong.Stop()
			return false
		case <-c.quit:
			pong.Stop()
			return false
		case <-pong.C:
		}
	}
}
