package sim

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// client is a subscriber that is cut at any byte and comes back anywhere. An
// SDK client reads frames and keeps positions; a bare one keeps its last id.
type client struct {
	w    *World
	i    int
	form session.Form
	subs []string
	slow bool

	at      *relay // where it is connected; nil: nowhere
	session *session.Session
	kicked  bool
	pipe    []byte // in flight to the client
	partial []byte // read, not yet a whole frame or event

	tracker *position.Tracker
	lastID  string
	joined  map[string]uint64 // by subscription: when it first stood
	got     map[int]bool      // messages received, by number
	once    once
	last    map[lane]uint64
	told    []told
	counted uint64 // stamps told as lost by the present session
}

type lane struct {
	origin  position.Origin
	channel string
}

// told is a gap, and where the client was when it was told.
type told struct {
	gap wire.Gap
	at  map[string]position.Position // by subscription
}

// places returns where a client is in each of its subscriptions.
func (c *client) places() map[string]position.Position {
	at := make(map[string]position.Position)
	for _, name := range c.subs {
		cursor := c.lastID
		if c.form == session.FormBinary {
			cursor = c.tracker.Cursor(name)
		}
		if cursor == "" {
			continue
		}
		p, err := position.Parse(cursor)
		if err != nil {
			c.w.failf("client %d: cursor of %s: %v", c.i, name, err)
		}
		at[name] = p
	}
	return at
}

const room = 2048 // bytes that a connection holds

func newClient(w *World, i int) *client {
	c := &client{w: w, i: i, joined: map[string]uint64{}, got: map[int]bool{}, once: once{first: map[int]given{}}, last: map[lane]uint64{}}
	c.form = []session.Form{session.FormBinary, session.FormSSE, session.FormPoll}[w.rand.IntN(3)]
	all := append(slices.Clone(w.channels), "n0.*", "n1.>", "*.c1", ">")
	w.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	c.subs = all[:1+w.rand.IntN(4)]
	if w.Brief {
		c.subs = w.channels[i%len(w.channels):][:1]
	}
	c.slow = w.Slow && w.rand.IntN(2) == 0
	c.tracker = position.NewTracker()
	return c
}

// link is the session's view of the connection.
type linkOf struct{ c *client }

func (l linkOf) Kick()                     { l.c.kicked = true }
func (l linkOf) Close(ce *wire.CloseError) { l.c.w.failf("client %d: closed: %v", l.c.i, ce) }
func (l linkOf) Shard() int                { return 0 }

func (c *client) connect() {
	w := c.w
	if c.at = w.anybody(); c.at == nil {
		w.after(w.between(0, 800*time.Millisecond), c.connect)
		return
	}
	var ce *wire.CloseError
	c.session, ce = c.at.host.Open(session.Params{Form: c.form, Transport: "sim", Identity: &identity.Identity{}, Link: linkOf{c}})
	if ce != nil {
		w.failf("client %d: refused: %v", c.i, ce)
		return
	}
	c.pipe, c.partial, c.once.fills, c.counted = nil, nil, nil, 0
	h := &wire.Hello{}
	if c.form != session.FormBinary {
		if h.Cursor = c.lastID; h.Cursor == "" {
			clear(c.joined) // it was cut before it had a place: it begins anew
		}
	}
	for _, name := range c.subs {
		s := wire.Sub{Channel: name}
		if c.form == session.FormBinary {
			s.Cursor = c.tracker.Cursor(name)
			if p, err := position.Parse(s.Cursor); err == nil {
				w.trace("%d client %d has %s %+v", w.now-start, c.i, name, p)
			}
		}
		h.Subs = append(h.Subs, s)
	}
	w.trace("%d client %d (%d) connects to %d, id %q", w.now-start, c.i, c.form, c.at.i, h.Cursor)
	if ce := c.session.Receive(h); ce != nil {
		w.failf("client %d: hello: %v", c.i, ce)
	}
	life := w.between(50*time.Millisecond, 4*time.Second)
	if w.calm {
		life = time.Hour
	}
	s := c.session
	w.after(life, func() {
		if c.session == s && !w.calm {
			c.cut()
		}
	})
	c.read()
	w.pump()
}

// cut ends the connection after some of what is in flight has arrived.
func (c *client) cut() {
	if n := len(c.pipe); n > 0 && c.form != session.FormPoll {
		c.take(c.w.rand.IntN(n + 1))
	}
	c.w.trace("%d client %d cut", c.w.now-start, c.i)
	if bend := c.w.bend.cursor; bend != nil {
		c.lastID = bend(c, c.lastID)
	}
	c.session.End(nil)
	c.at, c.session = nil, nil
	c.once.moves = append(c.once.moves, move{c.w.now, c.once.cursor})
	c.w.after(c.w.between(0, 800*time.Millisecond), c.connect)
}

// pump fills the connection as far as it has room.
func (c *client) pump() {
	for c.session != nil && (c.kicked || c.session.Due()) {
		c.kicked = false
		if len(c.pipe) >= room {
			c.session.Refused()
			return
		}
		if c.form == session.FormPoll {
			if len(c.pipe) == 0 {
				c.answer()
			}
			return
		}
		b := c.session.Fill(nil, 512)
		if len(b) == 0 {
			return
		}
		c.pipe = append(c.pipe, b...)
		c.once.fill(c, b)
		c.kicked = true
	}
}

// answer is one long poll's response: a batch and its cursor arrive together or
// not at all.
func (c *client) answer() {
	b := c.session.Fill(nil, 512)
	if len(b) > 0 {
		c.pipe = append(append(b, '\n'), c.session.Cursor()...)
		c.once.fill(c, c.pipe)
	}
}

// read takes from the connection now and then.
func (c *client) read() {
	s := c.session
	pause := c.w.between(time.Millisecond, 20*time.Millisecond)
	if c.slow && !c.w.calm {
		pause = c.w.between(50*time.Millisecond, 800*time.Millisecond)
	}
	c.w.after(pause, func() {
		if c.session != s || s == nil {
			return
		}
		s.Alive()
		if len(c.pipe) > 0 {
			n := len(c.pipe)
			if c.form != session.FormPoll {
				n = 1 + c.w.rand.IntN(n)
			}
			c.take(n)
			c.kicked = true
		} else if c.form == session.FormPoll {
			c.kicked = true // a new poll
		}
		c.pump()
		c.read()
	})
}

// take moves n bytes to the client, which acts on whole frames only.
func (c *client) take(n int) {
	for n > 0 {
		k := c.once.take(n)
		n -= k
		c.partial = append(c.partial, c.pipe[:k]...)
		c.pipe = c.pipe[k:]
		switch c.form {
		case session.FormBinary:
			c.frames()
		case session.FormSSE:
			c.events()
		default:
			c.batch()
		}
	}
}

func (c *client) frames() {
	for {
		b := c.partial
		if len(b) < 2 {
			return
		}
		head, n := 2, int(b[1])
		switch {
		case n == 126 && len(b) >= 4:
			head, n = 4, int(b[2])<<8|int(b[3])
		case n >= 126:
			return
		}
		if len(b) < head+n {
			return
		}
		fs, err := wire.DecodeBinary(b[head:head+n], wire.FromServer)
		if err != nil {
			c.w.failf("client %d: %v", c.i, err)
		}
		c.partial = slices.Clone(b[head+n:])
		for _, f := range fs {
			c.frame(f)
		}
	}
}

func (c *client) events() {
	for {
		block, rest, whole := bytes.Cut(c.partial, []byte("\n\n"))
		if !whole {
			return
		}
		c.partial = slices.Clone(rest)
		id, data := "", ""
		for line := range strings.SplitSeq(string(block), "\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "id":
				id = value
			case "data":
				data = value
			}
		}
		if data != "" {
			c.json([]byte(data))
		}
		if id != "" {
			c.lastID = id // what the event says is about where the client was
		}
	}
}

func (c *client) batch() {
	body, cursor, _ := bytes.Cut(c.partial, []byte("\n"))
	c.partial = nil
	c.json(append(append([]byte("["), bytes.TrimSuffix(body, []byte(","))...), ']'))
	c.lastID = string(cursor)
	if p, err := position.Parse(c.lastID); err == nil {
		c.w.trace("%d client %d at %+v", c.w.now-start, c.i, p)
	}
}

func (c *client) json(b []byte) {
	fs, err := wire.DecodeJSON(b, wire.FromServer)
	if err != nil {
		c.w.failf("client %d: %v in %q", c.i, err, b)
	}
	for _, f := range fs {
		c.frame(f)
	}
}

func (c *client) frame(f wire.Frame) {
	if bend := c.w.bend.frame; bend != nil && !bend(c, f) {
		return
	}
	switch f := f.(type) {
	case *wire.Subbed:
		if c.form == session.FormBinary {
			if err := c.tracker.Subscribed(f.Channel, f.Cursor); err != nil {
				c.w.failf("client %d: subbed with %v", c.i, err)
			}
		}
		if _, ok := c.joined[f.Channel]; !ok {
			c.joined[f.Channel] = c.w.now
		}
	case *wire.Msg:
		c.message(f)
	case *wire.Gap:
		c.w.trace("%d client %d gap %+v", c.w.now-start, c.i, *f)
		c.told = append(c.told, told{*f, c.places()})
		c.counted += f.Count
		if c.w.Calm() {
			c.w.failf("client %d: a gap in a calm run: %+v", c.i, *f)
		}
	case *wire.Progress:
		if err := c.tracker.Progress(f.Cursor); err != nil {
			c.w.failf("client %d: progress with %v", c.i, err)
		}
	case *wire.Err:
		c.w.failf("client %d: %s %s", c.i, f.Code, f.Text)
	}
}

func (c *client) message(f *wire.Msg) {
	n, err := strconv.Atoi(string(f.Data))
	if err != nil || n >= len(c.w.sent) || !c.w.sent[n].is(f.Stamp) || c.w.sent[n].channel != f.Channel {
		c.w.failf("client %d: %s %v was never published so", c.i, f.Channel, f.Stamp)
		return
	}
	if c.form == session.FormBinary {
		fresh := false
		for _, name := range c.subs {
			if channel.Match(name, f.Channel) && c.tracker.Message(name, f.Channel, f.Stamp) {
				fresh = true
			}
		}
		if !fresh {
			return
		}
	}
	c.w.trace("%d client %d got %s %v", c.w.now-start, c.i, f.Channel, f.Stamp)
	if f.ID != "" && c.once.forgives(c, n, f.Stamp.Origin) {
		return
	}
	if c.got[n] && !c.overlaps(f.Channel) {
		c.w.failf("client %d (%d): %s %v twice", c.i, c.form, f.Channel, f.Stamp)
	}
	c.got[n] = true
	in := lane{f.Stamp.Origin, f.Channel}
	if f.Stamp.Tick <= c.last[in] && !c.overlaps(f.Channel) {
		c.w.failf("client %d (%d): %s %v after tick %d", c.i, c.form, f.Channel, f.Stamp, c.last[in])
	}
	c.last[in] = max(c.last[in], f.Stamp.Tick)
}

// overlaps reports whether a channel reaches an SDK client by two subscriptions,
// each of which is a stream of its own.
func (c *client) overlaps(name string) bool {
	n := 0
	for _, s := range c.subs {
		if channel.Match(s, name) {
			n++
		}
	}
	return n > 1 && c.form == session.FormBinary
}
