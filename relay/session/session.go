package session

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Session is one client's stay. See the package comment.
type Session struct {
	// Static after construction.
	host      *Host
	form      Form
	loopback  bool
	link      Link
	transport string
	remote    string
	id        string
	opened    int64    // Unix nanoseconds
	beside    *Session // the session whose connection this one is a further way out of; nil: none
	way       Way
	cost      uint16
	socket    bool

	seat int // among the host's sessions; guarded by its lock

	heard atomic.Int64        // Unix nanoseconds of the last inbound byte
	spoke atomic.Int64        // of the last byte that Fill gave
	dirty atomic.Pointer[sub] // stack of subscriptions whose logs grew

	mu       sync.Mutex
	agent    string
	who      *identity.Identity // nil until hello
	number   uint64             // names this session as a sender; 0 until hello
	kept     uint64             // names the client in presence; 0: number does
	control  []byte             // answers not yet given to the writer, encoded
	subs     []*sub
	byName   map[string]*sub    // made when subs are many
	work     []*sub             // with entries to read; a heap by arrival where order matters
	pos      *position.Position // of a bare client; nil otherwise
	pinged   int64              // Unix nanoseconds of the last ping
	lastAt   uint64
	event    uint64 // index of the next event of the node's timeline
	closing  *wire.CloseError
	ended    bool
	opening  bool // the subscriptions of hello are being made: nothing is streamed yet
	overlap  bool // a pattern is subscribed to beside something else
	progress bool // a progress is due when all is drained
	refused  bool // the connection took less than it was given
	blocked  bool // of Fill: the next in order waits for a plugin's verdict
	stats    counts
	*rare    // made when one of its fields is needed
}

// counts of a session, compactly: there are very many sessions.
type counts struct {
	msgsOut, msgsIn, bytesOut, bytesIn, gaps, dropped uint64
	recovered, unhealed                               uint32
}

// rare is what most sessions never need. Guarded by the session's lock.
type rare struct {
	joining    []join      // waiting for a shard to be ready
	told       []node.Loss // whose end was told
	drainDelay int64       // milliseconds + 1
	bucket     float64     // publishes allowed now
	bucketAt   time.Time   // when that was so; zero: never
}

// none stands for a session's rare fields as long as they are zero. It is never written.
var none = &rare{}

// rareLocked makes the rare fields writable.
func (s *Session) rareLocked() *rare {
	if s.rare == none {
		s.rare = &rare{}
	}
	return s.rare
}

// ordered reports whether messages must go out in the node's order over all
// subscriptions: because one position covers them all, or because a message may
// belong to two of them and moves the client's position in both.
func (s *Session) ordered() bool { return s.bare() || s.overlap }

// bare reports whether the client cannot compute positions itself: the server
// keeps its position and gives it ready made with every event.
func (s *Session) bare() bool { return s.form >= FormSSE && s.form <= FormPoll }

// ID returns the address of the session for POST /v1/session/{id}.
func (s *Session) ID() string { return s.id }

// User returns the user of the session, "" before hello and for anonymous ones.
func (s *Session) User() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.who == nil {
		return ""
	}
	return s.who.User
}

// Identity returns who the client is, nil before hello.
func (s *Session) Identity() *identity.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.who
}

// Alive notes an inbound byte: any counts as life.
func (s *Session) Alive() { s.heard.Store(s.host.cfg.Now().UnixNano()) }

// answer is what a subscription that stands may add to the answers that wait, in
// bytes: its subbed. A client that asks for all it may at once has not yet had
// the time to read. One that asks for more than may stand has no excuse.
const answer = 1 << 10

// Receive takes in one frame of the client, one at a time. What is wrong with a
// request is answered by an err frame; a non-nil result ends the connection. It
// waits where a plugin is asked, and holds no lock meanwhile: what the session
// streams does not wait with it.
func (s *Session) Receive(f wire.Frame) *wire.CloseError {
	s.mu.Lock()
	who, over := s.who, s.ended || s.closing != nil
	s.mu.Unlock()
	if over {
		return nil
	}
	var ce *wire.CloseError
	h, hello := f.(*wire.Hello)
	switch {
	case hello:
		ce = s.hello(h)
	case who == nil:
		ce = &wire.CloseError{Close: wire.CloseBadFrame, Code: wire.CodeBadFrame, Text: "the first frame must be hello"}
	default:
		ce = s.request(f)
	}
	limits := s.host.Limits()
	s.mu.Lock()
	stand := len(s.subs)
	if hello { // nothing of what it brings about could be read before: granted or refused, all that may stand
		stand = limits.Subs
	}
	if ce == nil && len(s.control) > limits.Control+answer*stand {
		// A client that asks and does not read its answers.
		ce = &wire.CloseError{Close: wire.CloseSlow, Code: wire.CodeSlow, Text: "answers are not read", Retry: s.host.Delay()}
	}
	due := len(s.control) > 0 || len(s.work) > 0
	s.mu.Unlock()
	if due {
		s.link.Kick()
	}
	return ce
}

// request answers a frame of a client that is known.
func (s *Session) request(f wire.Frame) *wire.CloseError {
	switch f := f.(type) {
	case *wire.Sub:
		s.subscribe(f, nil)
	case *wire.Pub:
		s.pub(f)
	case *wire.History:
		s.history(f)
	case *wire.Refresh:
		s.refresh(f)
	case *wire.Unsub:
		s.mu.Lock()
		s.unsubLocked(f)
		s.mu.Unlock()
	case *wire.PresenceReq:
		s.mu.Lock()
		s.presenceLocked(f)
		s.mu.Unlock()
	case *wire.Pong:
	default:
		return &wire.CloseError{Close: wire.CloseBadFrame, Code: wire.CodeBadFrame, Text: "not a client's frame"}
	}
	return nil
}

// sayLocked queues a frame that belongs to this client alone.
func (s *Session) sayLocked(f wire.Frame) {
	s.control = s.appendFrame(s.control, f)
}

// errLocked queues an error that answers a request.
func (s *Session) errLocked(ref uint32, channel string, e *wire.Err) {
	e.Ref, e.Channel = ref, channel
	s.sayLocked(e)
}

func (s *Session) appendFrame(dst []byte, f wire.Frame) []byte {
	switch s.form {
	case FormJSON:
		return log.AppendWS(dst, 1, wire.AppendJSON(nil, f))
	case FormBinary:
		return log.AppendWS(dst, 2, wire.AppendBinary(nil, f))
	case FormPoll:
		return append(wire.AppendJSON(dst, f), ',')
	case FormStreamJSON:
		return appendSized(dst, wire.AppendJSON(nil, f))
	case FormStreamBinary:
		return appendSized(dst, wire.AppendBinary(nil, f))
	}
	return s.appendEvent(dst, f)
}

// sweep does what depends on time.
func (s *Session) sweep(now time.Time) {
	l := s.host.Limits()
	heard := now.Sub(time.Unix(0, s.heard.Load()))
	spoke := now.Sub(time.Unix(0, s.spoke.Load()))
	s.mu.Lock()
	if s.ended || s.closing != nil || s.number == 0 {
		s.mu.Unlock()
		return
	}
	kick := s.joinReadyLocked(now)
	var ce *wire.CloseError
	switch {
	case !s.who.Expires.IsZero() && !now.Before(s.who.Expires):
		ce = &wire.CloseError{Close: wire.CloseExpired, Code: wire.CodeTokenExpired, Text: "the token has expired"}
	case s.way != Shared: // the session that it stands beside pings for both
		if s.way == Stream && spoke >= l.Ping {
			s.progress, kick = true, true
		}
	case s.bare():
		if spoke >= l.Ping {
			s.progress, kick = true, true // an id says more than a comment, and keeps proxies awake as well
		}
	case heard >= l.Dead:
		ce = &wire.CloseError{Close: wire.CloseTimeout, Code: wire.CodeTimeout, Text: "nothing heard in time", Retry: s.host.Delay()}
	case heard >= l.Ping || spoke >= l.Ping:
		if now.Sub(time.Unix(0, s.pinged)) >= l.Ping/4 { // not on every sweep while the answer is under way
			s.pinged = now.UnixNano()
			s.sayLocked(&wire.Ping{})
			s.progress, kick = true, true
		}
	}
	s.mu.Unlock()
	switch {
	case ce != nil:
		s.close(ce)
	case kick:
		s.link.Kick()
	}
}

// close asks the transport to end the connection. The first reason stands.
func (s *Session) close(ce *wire.CloseError) {
	s.mu.Lock()
	first := s.closing == nil && !s.ended
	if first {
		s.closing = ce
	}
	s.mu.Unlock()
	if first {
		s.link.Close(ce)
	}
}

// End releases everything when the transport's connection is gone. ce says why,
// unless the session itself gave a reason before; nil is a client that left.
func (s *Session) End(ce *wire.CloseError) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	if s.closing == nil {
		s.closing = ce
	}
	subs, ce, c := s.subs, s.closing, s.clientLocked()
	s.subs, s.byName, s.work, s.control, s.rare = nil, nil, nil, nil, none
	st := s.statsLocked()
	st.Subs = len(subs)
	s.mu.Unlock()
	for _, e := range subs {
		e.log.Detach(e)
		s.host.leave(s, e, c, s.host.draining.Load())
	}
	s.host.remove(s)
	if s.beside != nil {
		s.beside.add(&st) // which tells of the end, for all
		return
	}
	s.host.cfg.Observer.Closed(s.transport, &st)
	s.logClosed(&st)
	if p := s.host.cfg.Policy; p != nil && s.number != 0 {
		code := wire.CloseNormal
		if ce != nil {
			code = ce.Close
		}
		p.Disconnect(c, code)
	}
}

// add counts what a way of the session's connection did that has ended.
func (s *Session) add(of *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.stats
	c.msgsOut += of.MsgsOut
	c.bytesOut += of.BytesOut
	c.gaps += of.Gaps
	c.dropped += of.Dropped
	c.recovered += uint32(of.Recovered)
	c.unhealed += uint32(of.Unhealed)
}

func (s *Session) statsLocked() Stats {
	c := &s.stats
	st := Stats{Opened: time.Unix(0, s.opened), MsgsOut: c.msgsOut, MsgsIn: c.msgsIn, BytesOut: c.bytesOut, BytesIn: c.bytesIn,
		Gaps: c.gaps, Dropped: c.dropped, Recovered: uint64(c.recovered), Unhealed: uint64(c.unhealed),
		Subs: len(s.subs), Closed: s.closing, Session: publicID(s.number), Agent: s.agent}
	if s.who != nil {
		st.User = s.who.User
	}
	return st
}

// Stats returns what the session did so far.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statsLocked()
}

// CountIn adds inbound bytes to the session's counts.
func (s *Session) CountIn(n int) {
	s.mu.Lock()
	s.stats.bytesIn += uint64(n)
	s.mu.Unlock()
}

// Client returns the session that this one stands beside, or itself.
func (s *Session) Client() *Session {
	if s.beside != nil {
		return s.beside
	}
	return s
}

// Transport returns the transport's name.
func (s *Session) Transport() string { return s.transport }

// Remote returns the client's address.
func (s *Session) Remote() string { return s.remote }

// Channels returns the names of the subscriptions.
func (s *Session) Channels() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, len(s.subs))
	for i, e := range s.subs {
		out[i] = e.log.Name
	}
	return out
}

func (s *Session) logOpened(user string, subs int) {
	s.host.cfg.Logger.Info("open", "session", publicID(s.number), "transport", s.transport, "remote", s.remote,
		"user", user, "agent", s.agent, "subs", subs)
}

func (s *Session) logClosed(st *Stats) {
	reason, code := "left", 0
	if st.Closed != nil {
		reason, code = string(st.Closed.Code), int(st.Closed.Close)
	}
	s.host.cfg.Logger.Info("close", "session", st.Session, "transport", s.transport, "remote", s.remote,
		"user", st.User, "reason", reason, "code", code, slog.Duration("for", s.host.cfg.Now().Sub(st.Opened)),
		"msgs_out", st.MsgsOut, "msgs_in", st.MsgsIn, "bytes_out", st.BytesOut, "bytes_in", st.BytesIn,
		"gaps", st.Gaps, "dropped", st.Dropped, "recovered", st.Recovered, "unhealed", st.Unhealed)
}
