package conformance

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// Visit is one stay of the client at a relay: a WebSocket, a WebTransport session,
// an event stream, or a run of polls.
type Visit struct {
	Relay     *Relay
	Transport string
	Hello     wire.Hello // what it came with; of a stream or poll, as the hello that it stands for
	At        time.Time

	id     string
	pipe   pipe // of a WebSocket or WebTransport; nil for the others
	bin    bool
	out    chan []byte     // of the others: nil cuts
	frames chan wire.Frame // of the client, but for requests
	gone   chan struct{}   // closed when the client has left, or was cut
	once   sync.Once
	err    error // how its pipe ended; set before gone is closed

	mu       sync.Mutex
	cursor   string // behind all that was sent
	turn     *turn
	answered string // of a poll: behind all that it was answered with; owned by who has the turn
}

// turn is the right of one request to answer for a run of polls.
type turn struct {
	over  chan struct{} // closed when it has passed to another
	ended chan struct{} // closed when it is given back
}

func (t *turn) done() { close(t.ended) }

// next takes the turn from the poll before, and waits until that has let go.
func (v *Visit) next() *turn {
	v.mu.Lock()
	before := v.turn
	mine := &turn{over: make(chan struct{}), ended: make(chan struct{})}
	v.turn = mine
	v.mu.Unlock()
	if before != nil {
		close(before.over)
		<-before.ended
	}
	return mine
}

func (v *Visit) leave() { v.once.Do(func() { close(v.gone) }) }

func (v *Visit) over() bool {
	select {
	case <-v.gone:
		return true
	default:
		return false
	}
}

func (v *Visit) place() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cursor
}

// take sorts the frames of a client with a pipe.
func (v *Visit) take(f wire.Frame) {
	var ref uint32
	switch f := f.(type) {
	case *wire.Pub:
		ref = f.Ref
	case *wire.History:
		ref = f.Ref
	case *wire.PresenceReq:
		ref = f.Ref
	default:
		select {
		case v.frames <- f:
		default: // nobody looks
		}
		return
	}
	a := &Ask{Frame: f, answer: make(chan wire.Frame, 1), cut: make(chan struct{})}
	v.Relay.asks <- a
	go func() {
		select {
		case got := <-a.answer:
			switch g := got.(type) {
			case *wire.Ack:
				g.Ref = ref
			case *wire.Err:
				g.Ref = ref
			case *wire.HistoryPage:
				g.Ref = ref
			case *wire.Presence:
				g.Ref = ref
			}
			v.Send(got)
		case <-a.cut:
			v.Cut()
		case <-v.gone:
		}
	}()
}

// Send gives frames to the client, with the position behind them. One that has
// left does not get them.
func (v *Visit) Send(frames ...wire.Frame) {
	if v.pipe != nil {
		for _, f := range frames {
			v.pipe.write(encode(f, v.bin))
		}
		return
	}
	var events []byte
	batch := []json.RawMessage{}
	retry := int64(0)
	for _, f := range frames {
		moved := v.follow(f)
		body := wire.AppendJSON(nil, f)
		switch f := f.(type) {
		case *wire.Progress:
			events = fmt.Appendf(events, "id: %s\n\n", v.place())
			continue // of a poll, the cursor says it
		case *wire.Ping:
			events = append(events, ":\n\n"...)
			continue
		case *wire.Drain:
			retry = f.Delay
		}
		batch = append(batch, body)
		if moved {
			events = fmt.Appendf(events, "id: %s\n", v.place())
		}
		if _, ok := f.(*wire.Msg); !ok {
			var named struct {
				T string `json:"t"`
			}
			if err := json.Unmarshal(body, &named); err != nil {
				panic(err) // ours
			}
			events = fmt.Appendf(events, "event: %s\n", named.T)
		}
		events = fmt.Appendf(events, "data: %s\n\n", body)
	}
	if v.Transport == "sse" {
		v.put(events)
		return
	}
	b, err := json.Marshal(map[string]any{"frames": batch, "retry_ms": retry, "cursor": v.place()})
	if err != nil {
		panic(err) // ours
	}
	v.put(b)
}

// follow moves the position of a stream behind f.
func (v *Visit) follow(f wire.Frame) (moved bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch f := f.(type) {
	case *wire.Msg:
		if had, err := tickOf(v.cursor); err == nil && had >= f.Stamp.Tick {
			return true // a repeat moves nothing
		}
		v.cursor = UpTo(f.Stamp.Tick)
		return true
	case *wire.Progress:
		v.cursor = f.Cursor
		return true
	}
	return false
}

func (v *Visit) put(b []byte) {
	select {
	case v.out <- b:
	case <-v.gone:
	}
}

// encode makes a message of a frame.
func encode(f wire.Frame, bin bool) []byte {
	if bin {
		return wire.AppendBinary(nil, f)
	}
	return wire.AppendJSON(nil, f)
}

// Text writes JSON as it stands on a stream or poll, for what this version's frames do not hold.
func (v *Visit) Text(name, body string) {
	switch v.Transport {
	case "sse":
		v.put(fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, body))
	case "poll":
		v.put(fmt.Appendf(nil, `{"frames":[%s],"cursor":%q}`, body, v.place()))
	}
}

// Greet welcomes the client and grants all it asks for.
func (v *Visit) Greet(w wire.Welcome) { v.Welcome(w, v.Hello.Subs...) }

// Welcome is the first answer, and grants some of what is asked for.
func (v *Visit) Welcome(w wire.Welcome, subs ...wire.Sub) {
	w.Version, w.Session = 1, v.id
	if w.Region == "" {
		w.Region = "test"
	}
	frames := []wire.Frame{&w}
	for _, s := range subs {
		frames = append(frames, v.grant(s))
	}
	v.Send(frames...)
	if v.Transport == "sse" && len(subs) > 0 {
		v.put(fmt.Appendf(nil, "id: %s\n\n", v.place()))
	}
}

// Grant says that subscriptions stand where they asked to, or behind message 1.
func (v *Visit) Grant(subs ...wire.Sub) {
	for _, s := range subs {
		v.Send(v.grant(s))
	}
}

func (v *Visit) grant(s wire.Sub) *wire.Subbed {
	cursor := s.Cursor
	if cursor == "" {
		cursor = UpTo(1)
	}
	if v.pipe == nil && v.place() == "" {
		v.mu.Lock()
		v.cursor = cursor
		v.mu.Unlock()
	}
	return &wire.Subbed{Ref: s.Ref, Channel: s.Channel, Cursor: cursor, Recovered: s.Cursor != ""}
}

// Cut ends the connection without a word: of a poll, the one that is held or the next.
func (v *Visit) Cut() {
	if v.pipe != nil {
		v.pipe.cut()
		return
	}
	select {
	case v.out <- nil:
	default:
	}
}

// Close ends the connection and says why, in the way of the transport (PROTOCOL §6).
func (v *Visit) Close(code wire.CloseCode, told wire.CloseError) {
	told.Close = code
	switch v.Transport {
	case "ws", "wt":
		v.pipe.close(&told)
	case "sse":
		err := wire.Err{Code: told.Code, Text: told.Text, Retry: told.Retry, Terminal: !code.Reconnects()}
		v.put(fmt.Appendf(nil, "retry: %d\nevent: error\ndata: %s\n\n", max(told.Retry, 1), wire.AppendJSON(nil, &err)))
		v.put(nil)
	case "poll":
		v.put(fmt.Appendf(nil, `{"status":%d,"error":{"code":%q,"text":%q,"retry_ms":%d}}`, told.Code.Status(), told.Code, told.Text, told.Retry))
	}
}
