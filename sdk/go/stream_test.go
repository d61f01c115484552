package chappe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// exchange is one request that a scripted HTTP relay answers.
type exchange struct {
	t  *testing.T
	w  http.ResponseWriter
	r  *http.Request
	at time.Time
}

func (x *exchange) channels() []string { return x.r.URL.Query()["channel"] }

// grant begins an event stream, at cursor, for all that was asked for.
func (x *exchange) grant(cursor string) {
	for _, name := range x.channels() {
		x.event("subbed", "", &wire.Subbed{Channel: name, Cursor: cursor})
	}
	x.event("", cursor, nil)
}

// event writes one block of an event stream.
func (x *exchange) event(name, id string, f wire.Frame) {
	x.w.Header().Set("Content-Type", "text/event-stream")
	if name != "" {
		fmt.Fprintf(x.w, "event: %s\n", name)
	}
	if id != "" {
		fmt.Fprintf(x.w, "id: %s\n", id)
	}
	if f != nil {
		fmt.Fprintf(x.w, "data: %s\n", wire.AppendJSON(nil, f))
	}
	io.WriteString(x.w, "\n")
	x.w.(http.Flusher).Flush()
}

func (x *exchange) raw(s string) {
	x.w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(x.w, s)
	x.w.(http.Flusher).Flush()
}

func (x *exchange) stay() { <-x.r.Context().Done() }

// cut ends the connection without ending the response.
func (x *exchange) cut() { panic(http.ErrAbortHandler) }

func (x *exchange) refuse(status int, code Code) {
	x.w.WriteHeader(status)
	fmt.Fprintf(x.w, `{"error":{"code":%q,"text":"no"}}`, code)
}

// answers plays one handler per request, in turn; further ones get the last.
func (n *network) answers(t *testing.T, host string, play ...func(x *exchange)) {
	var mu sync.Mutex
	i := 0
	n.serve(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		f := play[min(i, len(play)-1)]
		i++
		mu.Unlock()
		f(&exchange{t: t, w: w, r: r, at: time.Now()})
	}))
}

func TestSSE(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		var cutAt, backAt time.Time
		n.answers(t, "a",
			func(x *exchange) {
				if x.r.URL.Path != "/v1/sse" || !slices.Equal(x.channels(), []string{"x"}) || x.r.Header.Get("Authorization") != "Bearer tok" ||
					x.r.Header.Get("Accept") != "text/event-stream" || x.r.Header.Get("Last-Event-ID") != "" {
					t.Errorf("request %s %v", x.r.URL, x.r.Header)
				}
				x.raw("retry: 2500\n\n")
				x.event("welcome", "", &wire.Welcome{Version: 1, Session: "S", Region: "eu", Dead: 15_000, Reconnect: 60_000})
				x.grant(upTo(1))
				x.event("", upTo(2), msg("x", 2))
				x.event("gap", upTo(5), &wire.Gap{Channels: []string{"x"}, Count: 3, Reason: wire.ReasonTrimmed})
				named := msg("x", 6)
				named.Event = "weather" // comes under the publisher's name
				x.event("weather", upTo(6), named)
				x.event("", upTo(7), nil) // progress
				x.raw("id: " + upTo(8) + "\ndata: {\"half\"")
				cutAt = time.Now()
				x.cut()
			},
			func(x *exchange) {
				backAt = time.Now()
				if got := x.r.Header.Get("Last-Event-ID"); got != upTo(7) {
					t.Errorf("resumed from %q, want %q", got, upTo(7))
				}
				x.grant(upTo(7))
				x.event("", upTo(8), msg("x", 8))
				x.stay()
			},
		)
		var heard states
		c := n.client(t, 1, Options{Transport: "sse", Token: "tok", OnState: heard.hear})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		if st := heard.last(Live); st.Region != "eu" || st.Session != "S" {
			t.Errorf("state %+v", st)
		}
		take[*Message](t, s)
		if got := ticked(s.Cursor()); got != upTo(2) {
			t.Errorf("cursor %s, want %s", got, upTo(2))
		}
		if g := take[*Gap](t, s); g.Count != 3 {
			t.Errorf("gap %+v", g)
		}
		if m := take[*Message](t, s); m.Stamp.Tick != 6 || m.Event != "weather" {
			t.Errorf("got %+v", m)
		}
		if m := take[*Message](t, s); m.Stamp.Tick != 8 {
			t.Errorf("got %d", m.Stamp.Tick)
		}
		synctest.Wait()
		if d := backAt.Sub(cutAt); d != 2500*time.Millisecond {
			t.Errorf("back after %s, told 2.5 s", d)
		}
		if got := ticked(s.Cursor()); got != upTo(8) {
			t.Errorf("cursor %s, want %s", got, upTo(8))
		}
	})
}

func TestSSEChangeOfTheSet(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		sets := make(chan string, 10)
		note := func(x *exchange) {
			sets <- strings.Join(x.channels(), "+") + " " + x.r.Header.Get("Last-Event-ID")
		}
		n.answers(t, "a",
			func(x *exchange) { note(x); x.grant(upTo(4)); x.stay() },
			func(x *exchange) { note(x); x.grant(upTo(4)); x.event("", upTo(5), msg("y", 5)); x.stay() },
			func(x *exchange) { note(x); x.refuse(http.StatusForbidden, wire.CodeForbidden) },
			func(x *exchange) { note(x); x.grant(upTo(5)); x.event("", upTo(6), msg("x", 6)); x.stay() },
			func(x *exchange) { note(x); x.grant(upTo(6)); x.event("", upTo(7), msg("y", 7)); x.stay() },
		)
		var heard states
		c := n.client(t, 1, Options{Transport: "sse", OnState: heard.hear})
		defer closeNow(t, c)
		x := subscribe(t, c, "x", SubOptions{})
		if _, err := c.Subscribe(t.Context(), "y", SubOptions{Cursor: upTo(1)}); !hasCode(err, wire.CodeUnsupported) {
			t.Errorf("a second cursor: %v", err)
		}
		y := subscribe(t, c, "y", SubOptions{})
		take[*Message](t, y)
		if _, err := c.Subscribe(t.Context(), "secret", SubOptions{}); !hasCode(err, wire.CodeForbidden) {
			t.Errorf("got %v", err)
		}
		take[*Message](t, x)
		x.Close()
		take[*Message](t, y)
		for _, want := range []string{"x ", "x+y " + upTo(4), "secret+x+y " + upTo(5), "x+y " + upTo(5), "y " + upTo(6)} {
			if got := <-sets; got != want {
				t.Errorf("request %q, want %q", got, want)
			}
		}
		if got := heard.phases(); !slices.Equal(got, []Phase{Connecting, Live}) {
			t.Errorf("states %v: a change of the set is not a loss", got)
		}
	})
}

func TestSSEEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		play func(x *exchange)
		code Code
	}{
		{"terminal event", func(x *exchange) {
			x.grant(upTo(1))
			x.event("error", "", &wire.Err{Code: wire.CodeRevoked, Terminal: true})
		}, wire.CodeRevoked},
		{"of one channel", func(x *exchange) {
			x.grant(upTo(1))
			x.event("error", "", &wire.Err{Channel: "x", Code: wire.CodeForbidden})
			x.stay()
		}, wire.CodeForbidden},
		{"token", func(x *exchange) {
			x.grant(upTo(1))
			x.event("error", "", &wire.Err{Code: wire.CodeTokenExpired})
		}, wire.CodeTokenExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			inMemory(t, func(t *testing.T, n *network) {
				n.answers(t, "a", test.play, func(x *exchange) { t.Errorf("asked again: %s", x.r.URL); x.stay() })
				c := n.client(t, 1, Options{Transport: "sse"})
				defer closeNow(t, c)
				s := subscribe(t, c, "x", SubOptions{})
				if _, err := s.Next(t.Context()); !hasCode(err, test.code) {
					t.Errorf("got %v, want %s", err, test.code)
				}
			})
		})
	}
}

func TestSSERefusesOneOfTwo(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		gone := make(chan struct{})
		n.answers(t, "a", func(x *exchange) {
			for _, name := range x.channels() {
				if name == "secret" {
					x.event("error", "", &wire.Err{Channel: name, Code: wire.CodeForbidden})
				} else {
					x.event("subbed", "", &wire.Subbed{Channel: name, Cursor: upTo(1)})
				}
			}
			x.event("", upTo(2), msg("x", 2))
			x.stay()
			gone <- struct{}{}
		})
		c := n.client(t, 1, Options{Transport: "sse"})
		defer closeNow(t, c)
		if _, err := c.Subscribe(t.Context(), "secret", SubOptions{}); !hasCode(err, wire.CodeForbidden) {
			t.Errorf("got %v", err)
		}
		<-gone // nothing is followed any more
		synctest.Wait()
		if st := c.State(); st.Phase != Idle {
			t.Errorf("state %+v", st)
		}
		s := subscribe(t, c, "x", SubOptions{})
		take[*Message](t, s)
		go func() { <-gone; <-gone }() // opened again with secret, then closed
		if _, err := c.Subscribe(t.Context(), "secret", SubOptions{}); !hasCode(err, wire.CodeForbidden) {
			t.Errorf("got %v", err)
		}
		none(t, s)
	})
}

func TestSSEDrainSilenceAndRefusals(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		start := time.Now()
		at := make(chan string, 10)
		note := func(what string) { at <- fmt.Sprintf("%s %s", what, time.Since(start).Truncate(time.Second)) }
		n.answers(t, "a",
			func(x *exchange) {
				note("open")
				x.event("welcome", "", &wire.Welcome{Dead: 15_000})
				x.grant(upTo(1))
				time.Sleep(2 * time.Second)
				x.event("drain", "", &wire.Drain{Delay: 3000, Alternatives: []string{"http://b"}})
				x.event("", upTo(2), msg("x", 2))
				x.stay()
			},
		)
		n.answers(t, "b",
			func(x *exchange) {
				note("moved")
				x.event("welcome", "", &wire.Welcome{Dead: 15_000, Reconnect: 1})
				for range 3 {
					time.Sleep(10 * time.Second)
					x.raw(": ping\n\n")
				}
				x.stay() // dead 15 s after the last comment
			},
			func(x *exchange) {
				note("dead")
				x.w.Header().Set("Retry-After", "60")
				x.refuse(http.StatusServiceUnavailable, wire.CodeOverloaded)
			},
		)
		c := n.client(t, 1, Options{Transport: "sse"})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		take[*Message](t, s)
		for _, want := range []string{"open 0s", "moved 5s", "dead 50s"} {
			if got := <-at; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		time.Sleep(30 * time.Second)
		if st := c.State(); st.Phase != Waiting || st.Until.Sub(start) < 110*time.Second || !hasCode(st.Err, wire.CodeOverloaded) {
			t.Errorf("state %+v", st)
		}
	})
}

func TestSSETokenFromItsSource(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		shown := make(chan string, 10)
		start := time.Now()
		n.answers(t, "a",
			func(x *exchange) {
				shown <- x.r.Header.Get("Authorization")
				x.refuse(http.StatusUnauthorized, wire.CodeBadToken)
			},
			func(x *exchange) {
				shown <- x.r.Header.Get("Authorization")
				x.grant(upTo(3))
				x.event("welcome", "", &wire.Welcome{Expires: start.Add(10 * time.Minute).UnixMilli()})
				for x.r.Context().Err() == nil {
					time.Sleep(10 * time.Second)
					x.raw(":\n\n")
				}
			},
			func(x *exchange) {
				shown <- x.r.Header.Get("Authorization")
				if d := time.Since(start); d < 9*time.Minute || d >= 10*time.Minute {
					t.Errorf("renewed after %s", d)
				}
				if got := x.r.Header.Get("Last-Event-ID"); got != upTo(3) {
					t.Errorf("from %q", got)
				}
				x.grant(upTo(3))
				x.event("", upTo(9), msg("x", 9))
				x.stay()
			},
		)
		given := 0
		c := n.client(t, 1, Options{Transport: "sse", TokenSource: func(context.Context) (string, error) {
			given++
			return fmt.Sprint(given), nil
		}})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		take[*Message](t, s)
		for _, want := range []string{"Bearer 1", "Bearer 2", "Bearer 3"} {
			if got := <-shown; got != want {
				t.Errorf("showed %q, want %q", got, want)
			}
		}
	})
}

func TestSSESlowApplication(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.answers(t, "a", func(x *exchange) {
			x.event("welcome", "", &wire.Welcome{Dead: 2000})
			x.grant(upTo(1))
			for tick := range uint64(20) {
				x.event("", upTo(tick+2), msg("x", tick+2))
			}
			for x.r.Context().Err() == nil {
				time.Sleep(time.Second)
				x.raw(":\n\n")
			}
		})
		c := n.client(t, 1, Options{Transport: "sse", Patience: 4 * time.Second})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{Buffer: 4})
		time.Sleep(20 * time.Second)
		for tick := range uint64(4) {
			take[*Message](t, s)
			if got := ticked(s.Cursor()); got != upTo(tick+2) {
				t.Errorf("cursor %s, want %s", got, upTo(tick+2))
			}
		}
		if g := take[*Gap](t, s); g.Count != 16 || !g.Local {
			t.Errorf("gap %+v", g)
		}
		if got := ticked(s.Cursor()); got != upTo(21) {
			t.Errorf("cursor %s, want %s", got, upTo(21))
		}
		if st := c.State(); st.Phase != Live {
			t.Errorf("state %+v", st)
		}
	})
}

// batch answers a poll.
func (x *exchange) batch(cursor string, retry int64, frames ...wire.Frame) {
	a := answer{Cursor: cursor, Retry: retry, Session: "S"}
	for _, f := range frames {
		a.Frames = append(a.Frames, wire.AppendJSON(nil, f))
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.Write(mustJSON(a))
}

func TestPoll(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		start := time.Now()
		asked := make(chan string, 10)
		note := func(x *exchange) {
			q := x.r.URL.Query()
			asked <- fmt.Sprintf("%s %s %s %s", x.r.URL.Path, strings.Join(q["channel"], "+"), q.Get("cursor"), time.Since(start))
		}
		n.answers(t, "a",
			func(x *exchange) { note(x); x.batch(upTo(1), 0) },
			func(x *exchange) { note(x); time.Sleep(25 * time.Second); x.batch(upTo(2), 0) },
			func(x *exchange) {
				note(x)
				x.batch(upTo(4), 1500, msg("x", 3), &wire.Gap{Channels: []string{"x"}, Count: 1, Reason: wire.ReasonSlow}, msg("x", 4))
			},
			func(x *exchange) { note(x); x.cut() },
			func(x *exchange) {
				note(x)
				x.batch(upTo(5), 0, msg("x", 5), &wire.Drain{Delay: 2000, Alternatives: []string{"http://b"}})
			},
		)
		n.answers(t, "b", func(x *exchange) { note(x); x.stay() })
		c := n.client(t, 3, Options{Transport: "poll"})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		if m := take[*Message](t, s); m.Stamp.Tick != 3 {
			t.Errorf("got %d", m.Stamp.Tick)
		}
		if got := ticked(s.Cursor()); got != upTo(3) { // in the middle of an answer
			t.Errorf("cursor %s, want %s", got, upTo(3))
		}
		take[*Gap](t, s)
		take[*Message](t, s)
		take[*Message](t, s)
		for i, want := range []string{
			"/v1/poll x  0s", "/v1/poll x " + upTo(1) + " 0s", "/v1/poll x " + upTo(2) + " 25s", "/v1/poll x " + upTo(4) + " 26.5s",
			"/v1/poll x " + upTo(4) + " 2", "/v1/poll x " + upTo(5) + " ",
		} {
			if got := <-asked; !strings.HasPrefix(got, want) {
				t.Errorf("%d: asked %q, want %q", i, got, want)
			}
		}
	})
}

func TestPollOfADeadRelay(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.answers(t, "a", func(x *exchange) { x.batch(upTo(1), 0) }, func(x *exchange) { x.stay() })
		var heard states
		c := n.client(t, 1, Options{Transport: "poll", OnState: heard.hear})
		defer closeNow(t, c)
		start := time.Now()
		subscribe(t, c, "x", SubOptions{})
		time.Sleep(hold + time.Second)
		synctest.Wait()
		st := heard.last(Waiting)
		if !errors.Is(st.Err, errDead) || st.Until.Sub(start) < hold {
			t.Errorf("state %+v", st)
		}
	})
}

func TestQuietOverHTTP(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		stream := func(session string, then func(x *exchange)) func(x *exchange) {
			return func(x *exchange) {
				x.event("welcome", "", &wire.Welcome{Session: session, Reconnect: 5000})
				x.grant(upTo(1))
				then(x)
			}
		}
		var mu sync.Mutex
		streams, names := 0, []string(nil)
		n.answers(t, "a", func(x *exchange) {
			if x.r.Method == "GET" {
				mu.Lock()
				streams++
				i := streams
				mu.Unlock()
				if i == 1 {
					stream("S1", func(x *exchange) { time.Sleep(2 * time.Second); x.cut() })(x)
				}
				stream("S2", func(x *exchange) { x.stay() })(x)
				return
			}
			name := x.r.Header.Get("Chappe-Session")
			mu.Lock()
			names = append(names, name)
			mu.Unlock()
			if name != "S2" { // the node of S1 is gone
				x.refuse(http.StatusNotFound, wire.CodeNoSession)
				return
			}
			x.w.Write(wire.AppendJSON(nil, &wire.Ack{Stamp: msg("x", 3).Stamp}))
		})
		c := n.client(t, 1, Options{Transport: "sse"})
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		if _, err := c.Publish(t.Context(), "x", Message{Quiet: true}); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		names = slices.Compact(names)
		if !slices.Equal(names, []string{"S1", "S2"}) {
			t.Errorf("published in the name of %q", names)
		}
	})
}

func TestRequestsOverHTTP(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		ids := make(chan string, 10)
		n.answers(t, "a",
			func(x *exchange) { ids <- x.r.Header.Get("Chappe-Id"); x.cut() },
			func(x *exchange) {
				ids <- x.r.Header.Get("Chappe-Id")
				x.refuse(http.StatusServiceUnavailable, wire.CodeDraining)
			},
			func(x *exchange) { ids <- x.r.Header.Get("Chappe-Id"); x.w.WriteHeader(http.StatusBadGateway) },
			func(x *exchange) {
				ids <- x.r.Header.Get("Chappe-Id")
				body, _ := io.ReadAll(x.r.Body)
				if x.r.Method != "POST" || x.r.URL.Path != "/v1/channels/a.b/messages" || string(body) != "hi" || x.r.Header.Get("Chappe-Key") != "k" || x.r.Header.Get("Chappe-Event") != "e" {
					t.Errorf("request %s %s %v %q", x.r.Method, x.r.URL, x.r.Header, body)
				}
				x.w.Write(wire.AppendJSON(nil, &wire.Ack{Stamp: msg("a.b", 3).Stamp, Dup: true}))
			},
			func(x *exchange) { x.refuse(http.StatusForbidden, wire.CodeForbidden) },
			func(x *exchange) {
				if x.r.URL.Path != "/v1/channels/a.b/messages" || x.r.URL.RawQuery != "last=2" {
					t.Errorf("request %s", x.r.URL)
				}
				x.w.Write(wire.AppendJSON(nil, &wire.HistoryPage{Channel: "a.b", Messages: []wire.Msg{*msg("a.b", 3)}, Cursor: upTo(3)}))
			},
			func(x *exchange) {
				if x.r.URL.Path != "/v1/channels/a.b/presence" {
					t.Errorf("request %s", x.r.URL)
				}
				x.w.Write(wire.AppendJSON(nil, &wire.Presence{Channel: "a.b", Action: wire.PresenceList, Members: []Member{{Session: "s", User: "u"}}}))
			},
		)
		c := n.client(t, 1, Options{Transport: "poll"})
		defer closeNow(t, c)
		ack, err := c.Publish(t.Context(), "a.b", Message{Data: []byte("hi"), Key: "k", Event: "e"})
		if err != nil || ack.Stamp.Tick != 3 || !ack.Dup {
			t.Fatalf("ack %+v, %v", ack, err)
		}
		first := <-ids
		for range 3 {
			if id := <-ids; id != first || id == "" {
				t.Errorf("id %q, then %q", first, id)
			}
		}
		if _, err := c.Publish(t.Context(), "a.b", Message{}); !hasCode(err, wire.CodeForbidden) {
			t.Errorf("got %v", err)
		}
		page, err := c.History(t.Context(), "a.b", HistoryOptions{Last: 2})
		if err != nil || len(page.Messages) != 1 || page.Cursor != upTo(3) {
			t.Errorf("page %+v, %v", page, err)
		}
		all, err := c.Presence(t.Context(), "a.b")
		if err != nil || len(all) != 1 || all[0].User != "u" {
			t.Errorf("presence %v, %v", all, err)
		}
		if st := c.State(); st.Phase != Idle {
			t.Errorf("state %+v: nothing is followed", st)
		}
	})
}
