package chappe

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// region is how a host answers to who asks about it.
type region struct {
	far   time.Duration // of one request
	load  float64
	full  bool // admits nobody
	deaf  bool // never answers
	tells []string
}

// regions answers /v1/probe and /.well-known/chappe of all hosts.
type regions struct {
	mu        sync.Mutex
	by        map[string]region
	probes    map[string]int
	cancelled time.Time // when a deaf one was not waited for any more
}

func (g *regions) set(host string, r region) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.by[host] = r
}

func (g *regions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	is := g.by[r.Host]
	if r.URL.Path == "/v1/probe" {
		g.probes[r.Host]++
	}
	g.mu.Unlock()
	if is.deaf {
		<-r.Context().Done()
		g.mu.Lock()
		g.cancelled = time.Now()
		g.mu.Unlock()
		return
	}
	time.Sleep(is.far)
	if r.URL.Path == "/v1/probe" {
		fmt.Fprintf(w, `{"version":1,"admit":%v,"load":%v}`, !is.full, is.load)
		return
	}
	var list []string
	for _, u := range is.tells {
		list = append(list, fmt.Sprintf(`{"url":%q}`, u))
	}
	fmt.Fprintf(w, `{"version":1,"regions":[%s]}`, strings.Join(list, ","))
}

// world is some relays that greet and stay, each with what is said about it.
func world(t *testing.T, by map[string]region, f func(t *testing.T, n *network, g *regions)) {
	t.Helper()
	inMemory(t, func(t *testing.T, n *network) {
		g := &regions{by: by, probes: make(map[string]int)}
		n.about = g
		for host := range by {
			n.sockets(t, host, func(_ int, p *peer) {
				p.greet(wire.Welcome{Region: host, Reconnect: 1000})
				p.stay()
			})
		}
		f(t, n, g)
	})
}

func TestNearestRegion(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		by      map[string]region
		regions []string
		inOrder bool
		want    string
	}{
		{"one that is nearer", map[string]region{"a": {far: 100 * ms}, "b": {far: 10 * ms}}, []string{"http://b"}, false, "b"},
		{"not much nearer", map[string]region{"a": {far: 100 * ms}, "b": {far: 85 * ms}}, []string{"http://b"}, false, "a"},
		{"just enough nearer", map[string]region{"a": {far: 100 * ms}, "b": {far: 75 * ms}}, []string{"http://b"}, false, "b"},
		{"nearer, but busy", map[string]region{"a": {far: 35 * ms}, "b": {far: 10 * ms, load: 0.9}}, []string{"http://b"}, false, "a"},
		{"nearer, and somewhat busy", map[string]region{"a": {far: 35 * ms}, "b": {far: 10 * ms, load: 0.6}}, []string{"http://b"}, false, "b"},
		{"nearer, but full", map[string]region{"a": {far: 100 * ms}, "b": {far: 10 * ms, full: true}}, []string{"http://b"}, false, "a"},
		{"the best of three", map[string]region{"a": {far: 100 * ms}, "b": {far: 30 * ms}, "c": {far: 20 * ms}}, []string{"http://b", "http://c"}, false, "c"},
		{"one that the relay tells", map[string]region{"a": {far: 100 * ms, tells: []string{"http://a", "http://b"}}, "b": {far: 10 * ms}}, nil, false, "b"},
		{"told, not usable", map[string]region{"a": {far: 100 * ms, tells: []string{"b", "ftp://b"}}, "b": {far: 10 * ms}}, nil, false, "a"},
		{"alone", map[string]region{"a": {far: 100 * ms}}, nil, false, "a"},
		{"in order", map[string]region{"a": {far: 100 * ms}, "b": {far: 10 * ms}}, []string{"http://b"}, true, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			world(t, c.by, func(t *testing.T, n *network, g *regions) {
				client := n.client(t, 1, Options{Regions: c.regions, InOrder: c.inOrder})
				defer closeNow(t, client)
				subscribe(t, client, "x", SubOptions{})
				if now := client.State(); now.Region != "a" {
					t.Fatalf("begins at %+v", now)
				}
				time.Sleep(20 * time.Second)
				if now := client.State(); now.Region != c.want || now.Phase != Live {
					t.Errorf("at %+v", now)
				}
				g.mu.Lock()
				defer g.mu.Unlock()
				if c.inOrder && len(g.probes) > 0 {
					t.Errorf("asked without need: %v", g.probes)
				}
				for host, asked := range g.probes {
					if asked > 2 {
						t.Errorf("%s was asked %d times", host, asked)
					}
				}
			})
		})
	}
}

// Who needs more than twice the time of the first is not waited for.
func TestNearestDoesNotWait(t *testing.T) {
	world(t, map[string]region{"a": {far: 50 * time.Millisecond}, "b": {deaf: true}}, func(t *testing.T, n *network, g *regions) {
		begun := time.Now()
		got := Nearest(t.Context(), []string{"http://b", "http://a"}, Options{Dialer: n.dial})
		if len(got) != 2 || got[0] != "http://a" || got[1] != "http://b" {
			t.Errorf("%v", got)
		}
		synctest.Wait()
		if took := g.cancelled.Sub(begun); took != 200*time.Millisecond { // two requests of a, and as much again
			t.Errorf("waited %s", took)
		}
	})
}

// A move is made without a break: the new connection is live before the old one
// ends, resumes at the cursor, and what both deliver comes once.
func TestMoveKeepsTheCursor(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.about = &regions{by: map[string]region{"a": {far: time.Second}, "b": {}}, probes: make(map[string]int)}
		left := make(chan struct{})
		n.sockets(t, "a", func(_ int, p *peer) {
			p.greet(wire.Welcome{Region: "a"})
			p.send(msg("x", 2), msg("x", 3))
			p.stay()
			close(left)
		})
		n.sockets(t, "b", func(_ int, p *peer) {
			h := want[*wire.Hello](p)
			if len(h.Subs) != 1 || ticked(h.Subs[0].Cursor) != upTo(3) {
				t.Errorf("resumes with %+v", h.Subs)
			}
			select {
			case <-left:
				t.Error("the old connection ended first")
			default:
			}
			p.send(&wire.Welcome{Version: 1, Session: "s2", Region: "b"}, &wire.Subbed{Channel: "x", Cursor: h.Subs[0].Cursor, Recovered: true},
				msg("x", 3), msg("x", 4), msg("x", 5))
			p.stay()
		})
		var heard states
		c := n.client(t, 1, Options{Regions: []string{"http://b"}, OnState: heard.hear})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		for tick := uint64(2); tick <= 5; tick++ {
			if m := take[*Message](t, s); m.Stamp.Tick != tick {
				t.Fatalf("%d instead of %d", m.Stamp.Tick, tick)
			}
		}
		none(t, s)
		<-left
		if got := fmt.Sprint(heard.phases()); got != "[connecting live live]" {
			t.Errorf("states %s", got)
		}
	})
}

// A region that is lost costs one attempt; the way home is slow and random, and
// not taken to a region that admits nobody.
func TestFailoverAndReturn(t *testing.T) {
	for _, inOrder := range []bool{false, true} {
		t.Run(fmt.Sprintf("in order %v", inOrder), func(t *testing.T) {
			inMemory(t, func(t *testing.T, n *network) {
				g := &regions{by: map[string]region{"a": {far: time.Millisecond}, "b": {far: 50 * time.Millisecond}}, probes: make(map[string]int)}
				n.about = g
				greets := func(region string) script {
					return func(_ int, p *peer) {
						p.greet(wire.Welcome{Region: region, Reconnect: 2000})
						p.stay()
					}
				}
				ends := make(chan struct{})
				n.sockets(t, "a", func(_ int, p *peer) {
					p.greet(wire.Welcome{Region: "a", Reconnect: 2000})
					<-ends
				})
				n.sockets(t, "b", greets("b"))
				c := n.client(t, 7, Options{Regions: []string{"http://b"}, InOrder: inOrder})
				defer closeNow(t, c)
				subscribe(t, c, "x", SubOptions{})
				n.refuse("a")
				close(ends)
				lost := time.Now()
				for c.State().Region != "b" {
					time.Sleep(10 * time.Millisecond)
				}
				if took := time.Since(lost); took > 3*time.Second { // the window, and one step of the backoff
					t.Errorf("elsewhere after %s", took)
				}
				g.set("a", region{far: time.Millisecond, full: true})
				n.sockets(t, "a", greets("a")) // it is back, and admits nobody yet
				time.Sleep(10 * time.Minute)
				if now := c.State(); now.Region != "b" {
					t.Fatalf("gone home to a full region: %+v", now)
				}
				g.set("a", region{far: time.Millisecond})
				time.Sleep(30 * time.Minute)
				if now := c.State(); now.Region != "a" || now.Phase != Live {
					t.Errorf("not home again: %+v", now)
				}
			})
		})
	}
}

// A region that hangs, and takes connections still, costs its dead interval, a share
// of the window and one short attempt.
func TestRegionThatHangs(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			if i == 0 {
				p.greet(wire.Welcome{Region: "a", Ping: 2000, Dead: 3000, Reconnect: 2000})
			}
			<-p.ctx.Done()
		})
		n.sockets(t, "b", func(_ int, p *peer) {
			p.greet(wire.Welcome{Region: "b", Reconnect: 2000})
			p.stay()
		})
		c := n.client(t, 7, Options{Regions: []string{"http://b"}, InOrder: true, Transport: "ws"})
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		hung := time.Now()
		for c.State().Region != "b" {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(hung); took < 5*time.Second || took > 7*time.Second+100*time.Millisecond {
			t.Errorf("elsewhere after %s", took)
		}
	})
}

// Of 200 clients that lost their region, nobody comes home in the first minute
// after it is back, and no tenth of them at once.
func TestReturnIsSpread(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		c := n.client(t, 3, Options{})
		defer closeNow(t, c)
		v := &visit{c: c, before: &loss{}}
		in := make(map[int]int) // by 10 s
		for range 200 {
			for wait := range v.searches {
				if wait < time.Minute || wait > 3*time.Minute {
					t.Fatalf("searches after %s", wait)
				}
				in[int(wait/(10*time.Second))]++
				break
			}
		}
		for at, many := range in {
			if many > 40 {
				t.Errorf("%d in the 10 s from %d s on", many, 10*at)
			}
		}
		var waits []time.Duration
		for wait := range v.searches {
			if waits = append(waits, wait); len(waits) == 12 {
				break
			}
		}
		if last := waits[11]; last < 30*time.Minute || last > 90*time.Minute {
			t.Errorf("at last every %s", last)
		}
	})
}

// Clients that share a memory begin where another one has found the best.
func TestMemoryOfTheNearest(t *testing.T) {
	world(t, map[string]region{"a": {far: 100 * time.Millisecond}, "b": {far: 10 * time.Millisecond}}, func(t *testing.T, n *network, g *regions) {
		memory := new(Memory)
		o := Options{Regions: []string{"http://b"}, Memory: memory}
		first := n.client(t, 1, o)
		subscribe(t, first, "x", SubOptions{})
		time.Sleep(20 * time.Second)
		closeNow(t, first)
		second := n.client(t, 2, o)
		subscribe(t, second, "x", SubOptions{})
		if now := second.State(); now.Region != "b" {
			t.Errorf("begins at %+v", now)
		}
		closeNow(t, second)
		time.Sleep(7 * time.Hour)
		third := n.client(t, 3, o)
		defer closeNow(t, third)
		subscribe(t, third, "x", SubOptions{})
		if now := third.State(); now.Region != "a" {
			t.Errorf("after 7 h begins at %+v", now)
		}
	})
}

// A publication that a dying region may have taken is sent again to another one,
// under the same id.
func TestPublishAgainElsewhere(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		ids := make(chan string, 2)
		n.sockets(t, "a", func(_ int, p *peer) {
			p.greet(wire.Welcome{Reconnect: 100})
			ids <- want[*wire.Pub](p).ID
			n.refuse("a")
		})
		n.sockets(t, "b", func(_ int, p *peer) {
			p.greet(wire.Welcome{})
			pub := want[*wire.Pub](p)
			ids <- pub.ID
			p.send(&wire.Ack{Ref: pub.Ref, Stamp: msg("x", 9).Stamp, Dup: true})
			p.stay()
		})
		c := n.client(t, 1, Options{Regions: []string{"http://b"}})
		defer closeNow(t, c)
		ack, err := c.Publish(t.Context(), "x", Message{Data: []byte("1")})
		if err != nil || !ack.Dup || ack.Stamp.Tick != 9 {
			t.Errorf("%+v, %v", ack, err)
		}
		if one, two := <-ids, <-ids; one != two || one == "" {
			t.Errorf("ids %q and %q", one, two)
		}
	})
}

// An event stream that is not at the nearest relay is opened there, at its cursor.
func TestStreamMoves(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.about = &regions{by: map[string]region{"a": {far: time.Second}, "b": {}}, probes: make(map[string]int)}
		serve := func(host string, tick uint64, cursor string) {
			n.serve(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Last-Event-ID"); got != cursor {
					t.Errorf("%s is asked from %q on", host, got)
				}
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprintf(w, "event: subbed\ndata: %s\nid: %s\n\n", wire.AppendJSON(nil, &wire.Subbed{Channel: "x", Cursor: upTo(tick - 1)}), upTo(tick-1))
				fmt.Fprintf(w, "data: %s\nid: %s\n\n", wire.AppendJSON(nil, msg("x", tick)), upTo(tick))
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}))
		}
		serve("a", 2, "")
		serve("b", 3, upTo(2))
		c := n.client(t, 1, Options{Transport: "sse", Regions: []string{"http://b"}})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		for tick := uint64(2); tick <= 3; tick++ {
			if m := take[*Message](t, s); m.Stamp.Tick != tick {
				t.Fatalf("%d instead of %d", m.Stamp.Tick, tick)
			}
		}
		if now := c.State(); now.URL != "http://b" || now.Transport != "sse" {
			t.Errorf("%+v", now)
		}
	})
}
