package chappe

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

// longestQuery is what goes into a URL, in bytes, with the cursor: proxies take 8 KiB,
// a relay 16 KiB of headers.
const longestQuery = 8000

// silence is how long a stream may say nothing when the relay has not told a
// limit of its own.
const silence = 45 * time.Second

var (
	errChanged = errors.New("the set of subscriptions changed")
	errRenewal = errors.New("the token ends soon")
	errNearer  = errors.New("another region is nearer")
)

// stream is the transport "sse" or "poll": requests that follow all
// subscriptions together, with one cursor that the relay makes. A change of the
// set opens a new one at the same place.
type stream struct {
	c     *Client
	fetch func(*stream, *opening) (end loss, again bool)

	// Owned by the run goroutine.
	retry   time.Duration // of an event stream's retry field: the relay drew it for us
	renew   time.Time     // when a new token is due; zero: never
	session string        // of the last poll's answer: the next one goes on with it

	stands map[*Subscription]bool // granted; guarded by c.mu
}

// opening is one request of a stream.
type opening struct {
	v       *visit
	ctx     context.Context
	cancel  context.CancelCauseFunc
	query   url.Values
	cursor  string // where it begins; "" now
	subs    []*Subscription
	dog     *watchdog
	timers  []*time.Timer
	granted []*wire.Subbed // not standing yet: a place to come back to is missing
	last    *wire.Err      // of the session
	reader  reader

	drained bool // told to go, after drain, to one of moved
	drain   time.Duration
	moved   []string
	nearer  string // where the client should rather be; written before ctx ends for it
}

// admitLocked refuses a subscription that wants for itself what one request can
// only ask for all that it follows.
func (t *stream) admitLocked(s *Subscription) error {
	if len(t.c.subs) == 0 {
		t.c.cursor = s.opts.Cursor
		return nil
	}
	same := true
	for _, other := range t.c.subs {
		same = same && other.opts.Policy == s.opts.Policy && other.opts.Presence == s.opts.Presence
	}
	if !same || s.opts.Cursor != "" || s.opts.Last > 0 {
		return &Error{Code: wire.CodeUnsupported, Text: "on " + t.c.o.Transport +
			" all subscriptions share one cursor, policy and presence, which the first one sets: use another Client"}
	}
	return nil
}

func (t *stream) serve(v *visit) loss {
	ctx, cancel := context.WithCancel(t.c.ctx)
	defer cancel()
	nearer := make(chan string, 1)
	t.c.tasks.Go(func() {
		for wait := range v.searches {
			if !t.c.sleep(ctx, wait) {
				return
			}
			if best := t.c.nearer(ctx, v.pacer, v.base); best != "" {
				nearer <- best
				return
			}
		}
	})
	for {
		if !t.renew.IsZero() && !time.Now().Before(t.renew) {
			t.renew = time.Time{}
			if _, err := t.c.auth.fresh(t.c.ctx); err != nil {
				t.c.log.Warn("chappe: no new token", "err", err)
			}
		}
		o := t.open(v)
		if o == nil {
			return loss{idle: true}
		}
		end, again := t.once(o, nearer)
		if t.c.ended() || !again {
			return end
		}
	}
}

// open prepares a request for what is wanted now; nil if nothing is.
func (t *stream) open(v *visit) *opening {
	c := t.c
	o := &opening{v: v, query: url.Values{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	select { // what is announced is in the set that is read below
	case <-c.work:
	default:
	}
	maps.DeleteFunc(t.stands, func(s *Subscription, _ bool) bool { return c.subs[s.name] != s })
	for name, s := range c.subs {
		o.subs = append(o.subs, s)
		o.query.Add("channel", name)
		if s.opts.Last > 0 && c.cursor == "" {
			o.query.Set("last", strconv.Itoa(s.opts.Last))
		}
		if s.opts.Policy != "" {
			o.query.Set("policy", s.opts.Policy)
		}
		if s.opts.Presence {
			o.query.Set("presence", "1")
		}
	}
	slices.Sort(o.query["channel"])
	if slices.ContainsFunc(o.subs, func(s *Subscription) bool { return s.pass != "" }) {
		for _, name := range o.query["channel"] {
			o.query.Add("pass", c.subs[name].pass) // in the order of the channels
		}
	}
	o.cursor = c.cursor
	if len(o.subs) == 0 {
		return nil
	}
	return o
}

// once makes one request and reads it to its end. again: the next one follows
// at once, with the same relay.
func (t *stream) once(o *opening, nearer <-chan string) (end loss, again bool) {
	c := t.c
	o.ctx, o.cancel = context.WithCancelCause(c.ctx)
	o.dog = newWatchdog(o.v.patience(), func() { o.cancel(errDead) })
	o.reader = reader{c: c, wait: o.await, at: func(s *Subscription, _ carrier.Way) bool { return t.stands[s] }}
	stop, stopped := make(chan struct{}), make(chan struct{})
	c.tasks.Go(func() {
		defer close(stopped)
		select {
		case o.nearer = <-nearer:
			o.cancel(errNearer)
		case <-c.work:
			signal(c.work) // the next opening reads it
			o.cancel(errChanged)
		case <-c.quit:
			o.cancel(ErrClosed)
		case <-stop:
		}
	})
	end, again = t.fetch(t, o)
	close(stop)
	<-stopped // what it took notice of is not forgotten
	o.dog.stop()
	for _, timer := range o.timers {
		timer.Stop()
	}
	switch cause := context.Cause(o.ctx); cause {
	case errChanged, errRenewal:
		end, again = loss{}, true
	case errDead:
		end, again = loss{err: errDead, silent: true}, false
	case errNearer:
		end, again = loss{err: errNearer, drained: true, moved: []string{o.nearer}}, false
	case errDrained:
		end, again = loss{err: errDrained, drained: true, moved: o.moved}, false
	}
	o.cancel(nil)
	if !again {
		c.mu.Lock()
		clear(t.stands)
		c.mu.Unlock()
	}
	return end, again
}

// request asks for path, with the cursor in a header where that is told so. What
// is too long for a URL is the body of a POST (PROTOCOL §1.4).
func (o *opening) request(path string, header bool) (*http.Request, error) {
	to, query := o.v.base+path, o.query.Encode()
	if len(query)+len(o.cursor) <= longestQuery {
		req, err := http.NewRequestWithContext(o.ctx, http.MethodGet, to+"?"+query, nil)
		if err == nil && header && o.cursor != "" {
			req.Header.Set("Last-Event-ID", o.cursor)
		}
		return req, err
	}
	if o.cursor != "" {
		o.query.Set("cursor", o.cursor)
	}
	req, err := http.NewRequestWithContext(o.ctx, http.MethodPost, to, strings.NewReader(o.query.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header["Idempotency-Key"] = nil // for net/http: on a connection that is gone it is asked again
	return req, nil
}

// get requests path and returns a response with status 200.
func (t *stream) get(o *opening, path, accept string) (*http.Response, loss, bool) {
	c := t.c
	token, err := c.auth.bearer(o.ctx)
	if err != nil {
		return nil, loss{err: err}, false
	}
	req, err := o.request(path, accept == eventStreamType)
	if err != nil {
		return nil, loss{err: err}, false
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", agent)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, loss{err: err}, false
	}
	if resp.StatusCode != http.StatusOK {
		end := lossOfResponse(resp)
		resp.Body.Close()
		end, again := t.blame(o, end)
		return nil, end, again
	}
	return resp, loss{}, false
}

// blame finds who a refusal of the whole request is for: the subscriptions that
// were new in it, if any. Those that stood before go on without them.
func (t *stream) blame(o *opening, end loss) (loss, bool) {
	c := t.c
	anonymous := false // there is no token to bring, and it is not the token that is wrong
	if e, ok := end.err.(*Error); ok && c.o.TokenSource == nil {
		anonymous = e.Code == wire.CodeTokenRequired
	}
	if !anonymous && (!end.terminal || end.auth) {
		return end, false
	}
	c.mu.Lock()
	var fresh []*Subscription
	for _, s := range o.subs {
		if !s.began {
			fresh = append(fresh, s)
		}
	}
	c.mu.Unlock()
	if len(fresh) == 0 {
		return end, false
	}
	for _, s := range fresh {
		c.refuse(s, end.err)
	}
	return loss{}, true
}

// stand records that what the relay has granted is followed.
func (t *stream) stand(o *opening) {
	if len(o.granted) == 0 {
		return
	}
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range o.granted {
		if s := c.subs[f.Channel]; s != nil && !t.stands[s] && slices.Contains(o.subs, s) {
			t.stands[s] = true
			s.standLocked(f.Cursor)
		}
	}
	o.granted = nil
}

// admitted keeps the word that plugins let a subscription in.
func (t *stream) admitted(f *wire.Subbed) {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.subs[f.Channel]; s != nil && f.Pass != "" {
		s.pass = f.Pass
	}
}

// moved records the position behind all that was received.
func (t *stream) moved(cursor string) {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cursor = cursor
	for _, s := range c.subs {
		if t.stands[s] {
			s.advance(cursor)
		}
	}
}

// handle acts on a frame. It reports true when the stream must end.
func (t *stream) handle(o *opening, f wire.Frame) (end loss, over bool) {
	switch f := f.(type) {
	case *wire.Msg, *wire.Gap, *wire.Presence:
		o.reader.deliver(f, carrier.Control)
	case *wire.Welcome:
		t.welcomed(o, f)
	case *wire.Subbed:
		t.admitted(f)
		if f.Cursor != "" {
			o.granted = append(o.granted, f)
		}
	case *wire.Unsubbed:
		t.lose(f.Channel, &Error{Code: f.Code, Text: f.Text})
	case *wire.Err:
		switch {
		case f.Channel != "":
			t.lose(f.Channel, refusal(f))
		case f.Terminal || badCredentials(f.Code):
			return lossOfError(f), true
		default:
			o.last = f
		}
	case *wire.Drain:
		o.moved, o.drain = f.Alternatives, advice(f.Delay)
		o.drained = true
		o.timers = append(o.timers, time.AfterFunc(o.drain, func() { o.cancel(errDrained) }))
	}
	return loss{}, false
}

func (t *stream) lose(name string, err error) {
	c := t.c
	c.mu.Lock()
	s := c.subs[name]
	c.mu.Unlock()
	if s != nil {
		c.refuse(s, err)
	}
}

func (t *stream) welcomed(o *opening, w *wire.Welcome) {
	c := t.c
	ends := endOf(w.Expires, w.ExpiresIn)
	c.auth.accepted("", ends)
	if dead := advice(w.Dead); dead > 0 {
		o.dog.watch(dead)
	}
	t.renew = time.Time{}
	if in, due := c.renewal(ends); due {
		t.renew = time.Now().Add(in)
		o.timers = append(o.timers, time.AfterFunc(in, func() { o.cancel(errRenewal) }))
	}
	o.v.live(State{URL: o.v.base, Region: w.Region, Session: w.Session, Transport: t.c.o.Transport}, advice(w.Reconnect), w.Alternatives)
}

// alive tells Live where no welcome does.
func (t *stream) alive(o *opening) {
	if t.c.State().Phase != Live {
		o.v.live(State{URL: o.v.base, Transport: t.c.o.Transport}, 0, nil)
	}
}

// await waits until a subscription has room, at most Options.Patience. The time
// is not the relay's: nobody listens to it.
func (o *opening) await(s *Subscription) bool {
	c := o.v.c
	if c.o.Patience < 0 {
		return false
	}
	o.dog.pause()
	defer o.dog.touch()
	patience := time.NewTimer(c.o.Patience)
	defer patience.Stop()
	select {
	case <-s.space:
		return true
	case <-s.done:
		return true
	case <-patience.C:
	case <-c.quit:
	}
	return false
}

// watchdog calls bark when nothing has touched it for a while.
type watchdog struct {
	timer *time.Timer
	limit time.Duration // owned by the run goroutine, as off
	off   bool
}

func newWatchdog(limit time.Duration, bark func()) *watchdog {
	return &watchdog{limit: limit, timer: time.AfterFunc(limit, bark)}
}

func (w *watchdog) watch(limit time.Duration) { w.limit = limit; w.touch() }
func (w *watchdog) pause()                    { w.timer.Stop() }
func (w *watchdog) stop()                     { w.off = true; w.timer.Stop() }

func (w *watchdog) touch() {
	if !w.off {
		w.timer.Reset(w.limit)
	}
}

// patted is a body whose every byte touches the watchdog.
type patted struct {
	io.Reader
	dog *watchdog
}

func (p patted) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.dog.touch()
	}
	return n, err
}
