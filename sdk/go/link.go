package chappe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

// Sub-protocols (PROTOCOL §1.3).
const (
	protocolBinary = "chappe.v1.bin"
	protocolJSON   = "chappe.v1.json"
)

var (
	errDead    = errors.New("the relay was silent for too long")
	errDrained = errors.New("the relay is draining")
)

// replaced is the end of a link that another one was faster or better than.
var replaced = loss{err: errors.New("another connection took over")}

// link is one connection to one relay that carries messages both ways. One
// goroutine of its own reads it and acts on what it reads; one writes.
type link struct {
	// Immutable.
	c       *Client
	v       *visit
	base    string
	kind    string // "ws" or "wt"
	instead *link  // that it is to take over from
	ctx     context.Context
	cancel  context.CancelFunc
	bin     bool
	born    time.Time
	over    chan struct{} // closed when all of it has ended
	quiet   chan struct{} // closed when it hands out nothing more
	live    chan struct{} // closed when it is the connection

	heard   atomic.Int64 // when something was last read: time since born
	said    atomic.Int64 // when something was last written
	waiting atomic.Bool  // the reader waits for an application, not for the relay
	cause   atomic.Pointer[loss]

	end loss // written before over is closed

	// Guarded by c.mu.
	dropped  bool // not wanted any more
	welcome  *wire.Welcome
	progress string // newest position that the relay told on the control stream
	subs     map[*Subscription]*standing
	granted  map[string]grant // subscriptions the relay made

	// Owned by the reader.
	reader reader
	last   *wire.Err // an error of the session: the close that follows explains less
	timers []*time.Timer

	tasks sync.WaitGroup // writer, token refresh, search for something better

	mu   sync.Mutex
	conn carrier.Conn // nil before it is dialed
	out  [][]byte
	kick chan struct{} // capacity 1: out is not empty
}

// standing is a subscription as one connection knows it.
type standing struct {
	ref     uint32 // of the sub frame that is not answered yet
	stands  bool   // granted
	way     carrier.Way
	numbers numbers // of what comes by datagram
}

// grant is a subscription that nobody asked for yet.
type grant struct {
	cursor string // where it began
	way    carrier.Way
}

// open begins a link. It becomes the connection at its welcome, if it is still
// wanted then.
func (c *Client) open(v *visit, kind, base string, instead *link) *link {
	l := &link{
		c: c, v: v, base: base, kind: kind, instead: instead, bin: c.o.Format != "json", born: time.Now(),
		over: make(chan struct{}), quiet: make(chan struct{}), live: make(chan struct{}), kick: make(chan struct{}, 1),
		subs: make(map[*Subscription]*standing), granted: make(map[string]grant),
	}
	l.ctx, l.cancel = context.WithCancel(c.ctx)
	l.reader = reader{c: c, wait: l.await, at: l.at, missed: l.missed}
	go func() {
		l.end = l.run()
		close(l.over)
	}()
	return l
}

// run connects and stays until the link ends.
func (l *link) run() loss {
	end := l.stay()
	close(l.quiet)
	if told := l.cause.Load(); told != nil {
		end = *told
	}
	for _, timer := range l.timers {
		timer.Stop()
	}
	l.fail(end)
	l.mu.Lock() // whatever began a task before it could see the end has begun it now
	l.mu.Unlock()
	l.tasks.Wait()
	return end
}

func (l *link) stay() loss {
	token, ticket, err := l.c.auth.show(l.ctx)
	if err != nil {
		return loss{err: err}
	}
	patience := l.v.patience()
	l.after(patience, func() {
		select {
		case <-l.live:
		default:
			l.fail(loss{err: fmt.Errorf("no welcome from %s within %s", l.base, patience), mute: true})
		}
	})
	said := false
	hello := func() []byte {
		said = true
		return encode(l.hello(token, ticket), l.bin)
	}
	early := hello
	if l.instead == nil && l.v.before == nil { // what a new client wants it says while it connects
		early = nil
	}
	conn, err := l.dial(early)
	if err != nil {
		if no, ok := errors.AsType[*refused](err); ok {
			return no.end
		}
		return loss{err: fmt.Errorf("connect to %s: %w", l.base, err), mute: true}
	}
	l.mu.Lock()
	l.conn = conn
	l.mu.Unlock()
	if l.ctx.Err() != nil { // failed in the meantime, and who failed it saw no connection
		conn.Abort()
	}
	l.begin(func() { l.write(conn) })
	if !said {
		l.queue(hello())
	}
	return l.read(conn)
}

func (l *link) dial(early func() []byte) (carrier.Conn, error) {
	c := l.c
	to := carrier.Target{Protocol: protocolBinary, Agent: agent, TLS: c.o.TLS, Heard: l.hear, First: early}
	if !l.bin {
		to.Protocol = protocolJSON
	}
	if l.kind == "wt" {
		to.URL = l.base + "/v1/wt"
		return c.o.WebTransport.Dial(l.ctx, to)
	}
	to.URL = l.base + "/v1/ws"
	return dialSocket(l.ctx, c.http, to)
}

func (l *link) hear() { l.heard.Store(int64(time.Since(l.born))) }

// firstFlight is about how long a hello may be, in bytes: a relay takes 256 KiB, and
// one subscription more may have a cursor of 48.
const firstFlight = 128 << 10

// hello returns the first flight: all that the client wants to be told. What is
// asked for from now on goes out behind the welcome.
func (l *link) hello(token, ticket string) *wire.Hello {
	c := l.c
	hello := &wire.Hello{Version: 1, Token: token, Resume: ticket, Agent: agent}
	if c.o.Agent != "" {
		hello.Agent += " " + c.o.Agent
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	room := firstFlight
	for _, s := range c.subs {
		if room <= 0 {
			break // adopt asks for the others behind the welcome
		}
		w := l.wishLocked(s, 0)
		room -= len(w.Channel) + len(w.Cursor) + len(w.Pass) + 32
		hello.Subs = append(hello.Subs, w)
	}
	return hello
}

// wishLocked returns the sub frame that puts s where it stood.
func (l *link) wishLocked(s *Subscription, ref uint32) wire.Sub {
	l.subs[s] = &standing{ref: ref}
	w := wire.Sub{Ref: ref, Channel: s.name, Policy: s.opts.Policy, Presence: s.opts.Presence, Cursor: s.got.cursor(), Pass: s.pass}
	if !s.began && w.Cursor == "" {
		w.Last = s.opts.Last
	}
	if l.kind == "wt" {
		w.Via = s.opts.Via
	}
	return w
}

// askLocked asks for a subscription that this connection does not know.
func (l *link) askLocked(s *Subscription) {
	if l.subs[s] == nil {
		w := l.wishLocked(s, l.c.nextRefLocked())
		l.send(&w)
	}
}

// forgetLocked leaves a subscription.
func (l *link) forgetLocked(s *Subscription) {
	if l.subs[s] != nil {
		delete(l.subs, s)
		l.send(&wire.Unsub{Ref: l.c.nextRefLocked(), Channel: s.name})
	}
	delete(l.granted, s.name)
}

// at reports whether a subscription is followed on a way of this connection. What
// comes by datagram may overtake its grant, and what fits in none, or must not be
// lost, comes on the control stream.
func (l *link) at(s *Subscription, way carrier.Way) bool {
	st := l.subs[s]
	switch {
	case st == nil:
		return false
	case !st.stands:
		return way == carrier.Datagram
	}
	return st.way == way || st.way == carrier.Datagram && way == carrier.Control
}

// missed returns how many messages datagrams lost before f.
func (l *link) missed(s *Subscription, f wire.Frame, way carrier.Way) uint64 {
	st := l.subs[s]
	if st == nil || way != carrier.Datagram && st.way != carrier.Datagram {
		return 0
	}
	switch f := f.(type) {
	case *wire.Msg:
		return st.numbers.missed(f, st.stands)
	case *wire.Gap:
		st.numbers.told(f)
	}
	return 0
}

// send queues a frame. The queue is bounded by the number of callers: each
// waits for its answer.
func (l *link) send(f wire.Frame) { l.queue(encode(f, l.bin)) }

func (l *link) queue(b []byte) {
	l.mu.Lock()
	l.out = append(l.out, b)
	l.mu.Unlock()
	signal(l.kick)
}

func (l *link) write(conn carrier.Conn) {
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
			if err := conn.Write(l.ctx, b); err != nil {
				l.fail(loss{err: fmt.Errorf("write: %w", err)})
				return
			}
			l.said.Store(int64(time.Since(l.born)))
		}
	}
}

// fail ends the link from our side; the first cause counts.
func (l *link) fail(end loss) {
	if !l.cause.CompareAndSwap(nil, &end) {
		return
	}
	l.cancel()
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn != nil {
		conn.Abort()
	}
}

// begin runs a task that ends with the link.
func (l *link) begin(task func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause.Load() == nil {
		l.tasks.Go(task)
	}
}

// leave takes leave of the relay; the reader then ends.
func (l *link) leave() {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	conn.Close()
}

// after runs f unless the link ends before. Only its own goroutine calls it.
func (l *link) after(d time.Duration, f func()) {
	l.timers = append(l.timers, time.AfterFunc(d, f))
}

// read hands on what the relay sends until the link ends.
func (l *link) read(conn carrier.Conn) loss {
	for {
		data, way, err := conn.Read(l.ctx)
		if err != nil {
			return l.lossOf(err)
		}
		frames, err := decode(data, l.bin)
		if err != nil {
			if way == carrier.Datagram {
				continue
			}
			return loss{err: fmt.Errorf("a message of the relay: %w", err)}
		}
		for _, f := range frames {
			l.handle(f, way)
			if l.cause.Load() != nil {
				break
			}
		}
	}
}

// watch drops the link when the relay has been silent for dead. The time that
// the reader waited for the application is not the relay's. A relay speaks at least
// every ping: when it is late the link says something, which is all that a NAT needs
// that has forgotten it, and then, if it can, looks for another network path.
func (l *link) watch(ping, dead time.Duration) {
	if ping <= 0 || ping >= dead {
		ping = dead / 2
	}
	l.mu.Lock()
	mover, _ := l.conn.(carrier.Migrator)
	l.mu.Unlock()
	steps := []struct {
		after time.Duration
		do    func()
	}{
		{ping + (dead-ping)/4, func() { l.send(&wire.Pong{}) }},
		{ping + (dead-ping)/2, func() {
			if mover != nil {
				l.begin(func() { l.move(mover) })
			}
		}},
		{dead, func() { l.fail(loss{err: errDead, silent: true}) }},
	}
	next := 0
	var timer *time.Timer
	timer = time.AfterFunc(steps[0].after, func() {
		silent := time.Since(l.born) - time.Duration(l.heard.Load())
		if l.waiting.Load() {
			silent = 0
		}
		if silent < steps[0].after {
			next = 0
		}
		for next < len(steps) && silent >= steps[next].after {
			steps[next].do()
			next++
		}
		if next < len(steps) {
			timer.Reset(steps[next].after - silent)
		}
	})
	l.timers = append(l.timers, timer)
}

// move goes to another network path.
func (l *link) move(to carrier.Migrator) {
	if err := to.Migrate(l.ctx); err != nil {
		l.c.log.Debug("chappe: no other path", "url", l.base, "err", err)
		return
	}
	l.send(&wire.Pong{}) // the relay follows when it hears us there
}

// await waits until a subscription has room, at most Options.Patience.
func (l *link) await(s *Subscription) bool {
	if l.c.o.Patience < 0 {
		return false
	}
	return l.rest(s.space, s.done, l.c.o.Patience) // with done, push sees the end
}

// rest stops reading until one of two things has happened, or patience is over.
// Pings wait unread meanwhile, and behind a backlog they wait long: so it says
// pong unasked, at half the interval in which the relay wants to hear something.
func (l *link) rest(one, other <-chan struct{}, patience time.Duration) bool {
	l.waiting.Store(true)
	defer func() {
		l.hear()
		l.waiting.Store(false)
	}()
	half := time.Hour
	if w := l.welcome; w != nil && w.Ping > 0 { // this goroutine wrote it
		half = max(advice(w.Ping)/2, time.Millisecond)
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		quiet := time.Since(l.born) - time.Duration(l.said.Load())
		if quiet >= half {
			l.send(&wire.Pong{})
			quiet = 0
		}
		pong := time.NewTimer(half - quiet)
		select {
		case <-one:
			pong.Stop()
			return true
		case <-other:
			pong.Stop()
			return true
		case <-over.C:
			pong.Stop()
			return false
		case <-l.c.quit:
			pong.Stop()
			return false
		case <-pong.C:
		}
	}
}
