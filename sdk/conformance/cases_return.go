package conformance

import (
	"net/http"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// returns: how a client comes back (CLIENTS §3 to §5).
func returns() []Case {
	return []Case{
		{"cut", "a cut is resumed; what comes twice is delivered once", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a", "b")
			v := t.Until(quick(), "a", "b")
			v.Send(Message("a", 2), Message("b", 3), Message("a", 4))
			t.Takes("a", 2, 4)
			t.Takes("b", 3)
			v.Cut()
			if t.Transport != "poll" { // an HTTP library may ask again by itself
				t.State("waiting")
			}
			v = t.Visit()
			t.Stands(v.Hello.Subs, "a", 4)
			v.Greet(quick())
			// A relay that is behind, or another node, may send again what was there.
			v.Send(Message("a", 2), Message("b", 3), Message("a", 4), Message("a", 5), Message("b", 6), Message("a", 5), Message("a", 7))
			t.Takes("a", 5, 7)
			t.Takes("b", 6)
		}},
		{"many-cuts", "nothing is lost or repeated over many cuts, with repeats after each", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			n := uint64(2)
			for round := range 4 {
				v := t.Visit()
				if round > 0 {
					t.Stands(v.Hello.Subs, "a", n-1)
				}
				v.Greet(quick())
				for back := uint64(3); back > 0; back-- {
					if n > back+1 {
						v.Send(Message("a", n-back))
					}
				}
				for range 3 {
					v.Send(Message("a", n))
					t.Takes("a", n)
					n++
				}
				v.Cut()
			}
			t.Visit().Greet(quick())
		}},
		{"cut-in-an-event", "half an event is none", []string{"sse"}, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			v.put([]byte("id: " + UpTo(3) + "\ndata: " + string(wire.AppendJSON(nil, Message("a", 3))) + "\n"))
			v.Cut()
			v = t.Visit()
			t.Stands(v.Hello.Subs, "a", 2)
			v.Greet(quick())
			v.Send(Message("a", 3))
			t.Takes("a", 3)
		}},
		{"told-delay", "the relay's advice comes before all else (CLIENTS §4)", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(wire.Welcome{Reconnect: 60_000}, "a")
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			told := time.Now()
			v.Close(wire.CloseOverloaded, wire.CloseError{Code: wire.CodeOverloaded, Retry: 600})
			v = t.Visit()
			if d := v.At.Sub(told); d < 550*time.Millisecond || d > 20*time.Second {
				t.Fatalf("came back after %s, told 600 ms", d)
			}
			v.Greet(quick())
		}},
		{"restart", "a relay that restarts is come back to when it says", pipes, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(wire.Welcome{Reconnect: 60_000}, "a")
			told := time.Now()
			v.Close(wire.CloseRestart, wire.CloseError{Code: wire.CodeDraining, Retry: 500})
			v = t.Visit()
			if d := v.At.Sub(told); d < 450*time.Millisecond || d > 20*time.Second {
				t.Fatalf("came back after %s, told 500 ms", d)
			}
			v.Greet(quick())
		}},
		{"err-before-the-cut", "an err frame of the session tells the delay, too", pipes, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(wire.Welcome{Reconnect: 60_000}, "a")
			told := time.Now()
			v.Send(&wire.Err{Code: wire.CodeOverloaded, Retry: 500}, Message("a", 2))
			t.Takes("a", 2)
			v.Cut()
			v = t.Visit()
			if d := v.At.Sub(told); d < 450*time.Millisecond || d > 20*time.Second {
				t.Fatalf("came back after %s, told 500 ms", d)
			}
			v.Greet(quick())
		}},
		{"lagging", "a reader that was overrun is closed with 4001 and resumes", pipes, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			v.Close(wire.CloseSlow, wire.CloseError{Code: wire.CodeSlow})
			v = t.Visit()
			t.Stands(v.Hello.Subs, "a", 2)
			v.Greet(quick())
			v.Send(&wire.Gap{Channels: []string{"a"}, Count: 5, Reason: wire.ReasonSlow}, Message("a", 8))
			t.Takes("a", "gap 5 slow", 8)
		}},
		{"window", "clients that are lost at once come back within the window that the relay told, spread over it (CLIENTS §4)", []string{"ws", "wt", "sse"}, "", func(t *T) {
			const window = 3 * time.Second
			clients := []*T{t}
			for range 7 {
				clients = append(clients, t.Beside())
			}
			var visits []*Visit
			for _, c := range clients {
				c.Open(Command{})
				c.Subscribe("a")
				visits = append(visits, c.Until(wire.Welcome{Reconnect: window.Milliseconds()}, "a"))
				c.Event("subscribed")
			}
			lost := time.Now()
			for _, v := range visits {
				v.Cut()
			}
			first, last := time.Hour, time.Duration(0)
			for range clients {
				v := t.Visit()
				v.Greet(quick())
				first, last = min(first, v.At.Sub(lost)), max(last, v.At.Sub(lost))
			}
			// Of eight that are spread over the window one in a million runs has none
			// before 5/6 of it, or none after 1/5, where the backoff has long ended.
			if first > window*5/6 || last < window/5 || last > window+2*time.Second {
				t.Fatalf("came back between %s and %s, the window is %s", first, last, window)
			}
		}},
		{"no-reset", "a relay that says goodbye right after the welcome is come back to ever more slowly, whatever the code (CLIENTS §4)", pipes, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			came := 0
			for over := time.After(5 * time.Second); ; came++ {
				select {
				case v := <-t.Relay.visits:
					v.Greet(quick())
					if came%2 == 0 {
						v.Close(wire.CloseRestart, wire.CloseError{Code: wire.CodeDraining})
					} else {
						v.Send(&wire.Drain{Deadline: 1000})
					}
					continue
				case <-over:
				}
				break
			}
			// Full jitter lets four or five come; without the backoff it is a hundred.
			if came < 2 || came > 20 {
				t.Fatalf("came %d times in 5 s", came)
			}
		}},
		{"half-open", "a relay that says nothing for the dead time is left (CLIENTS §3)", []string{"ws", "wt", "sse"}, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(wire.Welcome{Ping: 200, Dead: 500, Reconnect: 50}, "a")
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			// The link stays open and silent.
			back := t.Visit()
			if d := back.At.Sub(v.At); d < 450*time.Millisecond {
				t.Fatalf("left after %s, the dead time is 500 ms", d)
			}
			t.Stands(back.Hello.Subs, "a", 2)
			back.Greet(quick())
			t.Gone(v)
			back.Send(Message("a", 2), Message("a", 3))
			t.Takes("a", 3)
		}},
		{"alive", "messages are life: a relay that speaks is not left", []string{"ws", "wt", "sse"}, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(wire.Welcome{Ping: 400, Dead: 1500, Reconnect: 50}, "a")
			for n := uint64(2); n < 14; n++ {
				v.Send(Message("a", n))
				t.Takes("a", n)
				time.Sleep(200 * time.Millisecond) // the relay's own pace
			}
			if v.over() {
				t.Fatalf("the client left a relay that spoke all the time")
			}
		}},
		{"ping", "a ping is answered", pipes, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			v.Send(&wire.Ping{})
			t.Pong(v)
		}},
		{"drain", "the client reads on for the told delay, then moves to the told alternative with its cursor (CLIENTS §3)", everywhere, "", func(t *T) {
			other := t.Another()
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(wire.Welcome{Reconnect: 60_000}, "a")
			time.Sleep(1100 * time.Millisecond) // a drain right behind the welcome would be taken for a fault
			if t.Transport == "poll" {
				v.Send(Message("a", 2))
				t.Takes("a", 2)
			}
			told := time.Now()
			drain := &wire.Drain{Deadline: 30_000, Delay: 500, Alternatives: []string{"ftp://nowhere", other.URL}}
			if t.Transport == "poll" {
				v.Send(drain)
			} else {
				v.Send(drain, Message("a", 2)) // still read
				t.Takes("a", 2)
			}
			back := t.Visit(other)
			if d := back.At.Sub(told); d < 450*time.Millisecond || d > 20*time.Second {
				t.Fatalf("moved after %s, told 500 ms", d)
			}
			t.Stands(back.Hello.Subs, "a", 2)
			back.Greet(quick())
			back.Send(Message("a", 2), Message("a", 3))
			t.Takes("a", 3)
		}},
		{"failover", "when a relay is gone the told alternatives are tried, with the cursor", everywhere, "", func(t *T) {
			other := t.Another()
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(wire.Welcome{Reconnect: 50, Alternatives: []string{other.URL}}, "a")
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			t.Relay.Close()
			back := t.Visit(other)
			t.Stands(back.Hello.Subs, "a", 2)
			back.Greet(quick())
			back.Send(Message("a", 3))
			t.Takes("a", 3)
		}},
		{"silent-failover", "a relay that answers nothing any more costs seconds, not a minute, where it told of another (CLIENTS §1)", []string{"ws", "wt", "sse"}, "", func(t *T) {
			other := t.Another()
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(wire.Welcome{Ping: 300, Dead: 1000, Reconnect: 50, Alternatives: []string{other.URL}}, "a")
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			t.Relay.Silence()
			lost := time.Now()
			back := t.Visit(other)
			if d := back.At.Sub(lost); d > 9*time.Second {
				t.Fatalf("the other one was asked after %s", d)
			}
			t.Stands(back.Hello.Subs, "a", 2)
			back.Greet(quick())
			back.Send(Message("a", 3))
			t.Takes("a", 3)
		}},
		{"blocked-udp", "at connect WebSocket is live within 3 s where UDP worked before and is blocked now (CLIENTS §9)", []string{"wt"}, "udp-fallback", func(t *T) {
			t.visited()
			t.Relay.Block(true)
			begun := time.Now()
			t.Open(Command{Transports: []string{"wt", "ws"}})
			t.Subscribe("b")
			v := t.Until(quick(), "b")
			if d := v.At.Sub(begun); v.Transport != "ws" || d > 3*time.Second {
				t.Fatalf("live over %s after %s", v.Transport, d)
			}
			v.Send(Message("b", 2))
			t.Takes("b", 2)
		}},
		{"lost-udp", "in mid-session WebSocket takes over with the cursor within 3 s after the dead time when UDP is blocked", []string{"wt"}, "udp-fallback", func(t *T) {
			t.visited()
			t.Open(Command{Transports: []string{"wt", "ws"}})
			t.Subscribe("b")
			v := t.Until(wire.Welcome{Ping: 300, Dead: 1000, Reconnect: 50}, "b")
			if v.Transport != "wt" {
				t.Fatalf("came over %s, though UDP had worked", v.Transport)
			}
			v.Send(Message("b", 2), Message("b", 3))
			t.Takes("b", 2, 3)
			t.Relay.Block(true)
			lost := time.Now()
			v.Send(Message("b", 4))
			back := t.Visit()
			if d := back.At.Sub(lost); back.Transport != "ws" || d > 4*time.Second {
				t.Fatalf("came back over %s after %s, the dead time is 1 s", back.Transport, d)
			}
			t.Stands(back.Hello.Subs, "b", 3)
			back.Greet(quick())
			back.Send(Message("b", 3), Message("b", 4))
			t.Takes("b", 4)
		}},
		{"admission", "a relay that takes nobody now is come back to when it says", answered, "", func(t *T) {
			first := time.Time{}
			gate := make(chan struct{}, 1)
			t.Relay.Gate(func(w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == "/v1/probe" {
					return false
				}
				select {
				case gate <- struct{}{}:
					first = time.Now()
					return answerError(w, wire.Err{Code: wire.CodeOverloaded, Text: "full", Retry: 600})
				default:
					return false
				}
			})
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Visit()
			if d := v.At.Sub(first); d < 550*time.Millisecond {
				t.Fatalf("came back after %s, told 600 ms", d)
			}
			v.Greet(quick())
		}},
		{"blocked-upgrades", "at connect another transport is live within 3 s when upgrades are refused (CLIENTS §9)", socket, "fallback", func(t *T) {
			t.Relay.Gate(blocked)
			begun := time.Now()
			t.Open(Command{Transports: []string{"wt", "ws", "sse", "poll"}})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			if d := v.At.Sub(begun); d > 3*time.Second {
				t.Fatalf("live after %s", d)
			}
			v.Send(Message("a", 2))
			t.Takes("a", 2)
		}},
		{"stuck-upgrades", "at connect another transport is live within 3 s when upgrades get no answer", socket, "fallback", func(t *T) {
			t.Relay.Gate(func(_ http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path != "/v1/ws" {
					return false
				}
				<-q.Context().Done()
				return true
			})
			begun := time.Now()
			t.Open(Command{Transports: []string{"wt", "ws", "sse", "poll"}})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			if d := v.At.Sub(begun); d > 3*time.Second {
				t.Fatalf("live after %s", d)
			}
			v.Send(Message("a", 2))
			t.Takes("a", 2)
		}},
		{"only-polls", "at connect polling is live within 3 s when nothing else comes through", socket, "fallback", func(t *T) {
			t.Relay.Gate(func(w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == "/v1/sse" { // a proxy that collects the answer before it passes it on
					<-q.Context().Done()
					return true
				}
				return blocked(w, q)
			})
			begun := time.Now()
			t.Open(Command{Transports: []string{"wt", "ws", "sse", "poll"}})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			if d := v.At.Sub(begun); d > 3*time.Second {
				t.Fatalf("live after %s", d)
			}
			v.Send(Message("a", 2))
			t.Takes("a", 2)
		}},
		{"downgrade", "in mid-session another transport takes over with the cursor when upgrades are blocked", socket, "fallback", func(t *T) {
			t.Open(Command{Transports: []string{"ws", "sse", "poll"}})
			t.Subscribe("a", "b")
			v := t.Until(quick(), "a", "b")
			v.Send(Message("a", 2), Message("b", 3), Message("a", 4))
			t.Takes("a", 2, 4)
			t.Takes("b", 3)
			t.Relay.Gate(blocked)
			lost := time.Now()
			v.Cut()
			v = t.Until(quick(), "a", "b")
			if d := v.At.Sub(lost); v.Transport != "sse" || d > 3*time.Second {
				t.Fatalf("came back over %s after %s", v.Transport, d)
			}
			v.Send(Message("b", 3), Message("a", 4), Message("a", 5), Message("b", 6))
			t.Takes("a", 5)
			t.Takes("b", 6)
		}},
		{"no-race-in-an-outage", "a relay that is down is not asked over one transport after the other", socket, "fallback", func(t *T) {
			t.Open(Command{Transports: []string{"ws", "sse", "poll"}})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			count := make(chan string, 64)
			t.Relay.Gate(func(w http.ResponseWriter, q *http.Request) bool {
				select {
				case count <- q.URL.Path:
				default:
				}
				panic(http.ErrAbortHandler) // nothing answers
			})
			v.Cut()
			t.State("waiting")
			t.State("waiting")
			t.Relay.Gate(nil)
			for len(count) > 0 {
				if path := <-count; path == "/v1/sse" || path == "/v1/poll" {
					t.Fatalf("asked for %s while nothing answered", path)
				}
			}
			t.Visit().Greet(quick())
		}},
	}
}
