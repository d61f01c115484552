package conformance

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/conformance/certificate"
)

// Relay is a relay on a port of this machine that does what a case says.
type Relay struct {
	URL    string
	Hashes []string // of its certificate, for who has to believe it

	ln     net.Listener
	srv    *http.Server
	wt     *transport // nil: it speaks in the clear, and has none
	visits chan *Visit
	asks   chan *Ask

	mu     sync.Mutex
	gate   func(http.ResponseWriter, *http.Request) bool
	polls  map[string]*Visit
	number int
	all    []*Visit
}

// own is the certificate of all relays that speak TLS.
var own = sync.OnceValues(certificate.New)

// newRelay starts one; secure: with TLS, and WebTransport on the same port.
func newRelay(secure bool) (*Relay, error) {
	r := &Relay{visits: make(chan *Visit, 64), asks: make(chan *Ask, 64), polls: make(map[string]*Visit)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil && secure {
		ln, err = r.secure(ln)
	}
	if err != nil {
		return nil, fmt.Errorf("scripted relay: %w", err)
	}
	r.ln = ln
	if r.URL = "http://" + ln.Addr().String(); secure {
		r.URL = "https://" + ln.Addr().String()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ws", r.socket)
	mux.HandleFunc("GET /v1/sse", r.stream)
	mux.HandleFunc("GET /v1/poll", r.poll)
	mux.HandleFunc("POST /v1/sse", asked(r.stream))
	mux.HandleFunc("POST /v1/poll", asked(r.poll))
	mux.HandleFunc("POST /v1/channels/{channel}/messages", r.post)
	mux.HandleFunc("POST /v1/messages", r.batch)
	mux.HandleFunc("GET /v1/channels/{channel}/messages", r.history)
	mux.HandleFunc("GET /v1/probe", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{
			"version": 1, "region": "test", "admit": true, "retry_ms": 0, "load": 0, "webtransport": r.wt != nil, "hashes": r.Hashes,
		})
	})
	mux.HandleFunc("GET /.well-known/chappe", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"version":1,"regions":[{"region":"test","url":%q}]}`, r.URL)
	})
	r.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		r.mu.Lock()
		gate := r.gate
		r.mu.Unlock()
		if gate != nil && gate(w, q) {
			return
		}
		mux.ServeHTTP(w, q)
	}), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10} // as a relay has it
	go r.srv.Serve(ln)
	return r, nil
}

// secure adds TLS to a listener, and WebTransport; at another port if that one is
// taken over UDP.
func (r *Relay) secure(ln net.Listener) (net.Listener, error) {
	cert, err := own()
	if err != nil {
		return nil, err
	}
	for tries := 0; ; tries++ {
		if r.wt, err = newTransport(r, ln.Addr().String(), cert); err == nil {
			break
		}
		ln.Close()
		if tries == 9 {
			return nil, err
		}
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	r.Hashes = []string{certificate.Hash(cert)}
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}), nil
}

// Close ends the relay without a word to anybody.
func (r *Relay) Close() {
	r.mu.Lock()
	all := r.all
	r.mu.Unlock()
	for _, v := range all {
		v.Cut()
	}
	r.srv.Close()
	if r.wt != nil {
		r.wt.close()
	}
}

// Block has packets of UDP vanish, or pass again.
func (r *Relay) Block(yes bool) { r.wt.silent.Store(yes) }

// Silence leaves the relay where it is, and has it answer nothing any more.
func (r *Relay) Silence() {
	r.Gate(func(_ http.ResponseWriter, q *http.Request) bool {
		<-q.Context().Done()
		return true
	})
	if r.wt != nil {
		r.Block(true)
	}
}

// Gate has f look at each request first; it returns true when it has answered.
// nil: none.
func (r *Relay) Gate(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = f
}

func (r *Relay) visit(transport string, hello wire.Hello, p pipe) *Visit {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number++
	v := &Visit{
		Relay: r, Transport: transport, Hello: hello, At: time.Now(), pipe: p, id: fmt.Sprintf("s%d", r.number),
		out: make(chan []byte, 256), frames: make(chan wire.Frame, 1024), gone: make(chan struct{}), cursor: hello.Cursor, answered: hello.Cursor,
	}
	r.all = append(r.all, v)
	return v
}

// socket plays a WebSocket.
func (r *Relay) socket(w http.ResponseWriter, q *http.Request) {
	conn, err := websocket.Accept(w, q, &websocket.AcceptOptions{Subprotocols: []string{"chappe.v1.bin", "chappe.v1.json"}, InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	bin := conn.Subprotocol() == "chappe.v1.bin"
	p := &socketPipe{conn, websocket.MessageText}
	if bin {
		p.kind = websocket.MessageBinary
	}
	ctx := context.Background()
	r.converse("ws", p, bin, func() ([]byte, error) {
		_, b, err := conn.Read(ctx)
		return b, err
	})
}

// converse plays a connection that carries messages of frames both ways, until
// the client leaves. next reads a message.
func (r *Relay) converse(transport string, p pipe, bin bool, next func() ([]byte, error)) {
	decode := wire.DecodeJSON
	if bin {
		decode = wire.DecodeBinary
	}
	late := time.AfterFunc(5*time.Second, p.cut)
	b, err := next()
	late.Stop()
	if err != nil {
		return
	}
	first, err := decode(b, wire.FromClient)
	if err != nil || len(first) == 0 {
		return
	}
	hello, ok := first[0].(*wire.Hello)
	if len(b) > longest {
		p.close(&wire.CloseError{Close: wire.CloseTooBig, Code: wire.CodeTooBig, Text: "a hello of " + strconv.Itoa(len(b)) + " bytes"})
		return
	}
	if !ok {
		p.close(&wire.CloseError{Close: wire.CloseBadFrame, Code: wire.CodeBadFrame, Text: "hello comes first"})
		return
	}
	v := r.visit(transport, *hello, p)
	v.bin = bin
	r.visits <- v
	defer v.leave()
	for {
		b, err := next()
		if err != nil {
			v.err = err
			return
		}
		frames, err := decode(b, wire.FromClient)
		if err != nil {
			v.err = err
			return
		}
		for _, f := range frames {
			v.take(f)
		}
	}
}

// asked reads a query that was too long for a URL.
func asked(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(io.LimitReader(q.Body, 1<<20))
		if err != nil {
			return
		}
		q.URL.RawQuery = string(body)
		h(w, q)
	}
}

// longest is what a relay takes in one message (PROTOCOL §9).
const longest = 256 << 10

// wishes reads what an event stream or a poll asks for, as the hello it stands for.
func wishes(q *http.Request) wire.Hello {
	h := wire.Hello{Version: 1, Token: strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer "), Cursor: q.URL.Query().Get("cursor")}
	if id := q.Header.Get("Last-Event-ID"); id != "" {
		h.Cursor = id
	}
	last, _ := strconv.Atoi(q.URL.Query().Get("last"))
	passes := q.URL.Query()["pass"]
	for i, name := range q.URL.Query()["channel"] {
		s := wire.Sub{Channel: name, Cursor: h.Cursor, Policy: q.URL.Query().Get("policy"), Presence: q.URL.Query().Get("presence") == "1"}
		if s.Cursor == "" {
			s.Last = last
		}
		if i < len(passes) {
			s.Pass = passes[i]
		}
		h.Subs = append(h.Subs, s)
	}
	return h
}

// stream plays an event stream.
func (r *Relay) stream(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	flush.Flush()
	v := r.visit("sse", wishes(q), nil)
	r.visits <- v
	defer v.leave()
	for {
		select {
		case b := <-v.out:
			if b == nil {
				panic(http.ErrAbortHandler) // the connection is cut
			}
			if _, err := w.Write(b); err != nil {
				return
			}
			flush.Flush()
		case <-q.Context().Done():
			return
		}
	}
}

// poll answers one poll of a visit.
func (r *Relay) poll(w http.ResponseWriter, q *http.Request) {
	hello := wishes(q)
	r.mu.Lock()
	v := r.polls[q.URL.Query().Get("session")]
	r.mu.Unlock()
	first := false
	if v == nil || v.over() || v.answered != hello.Cursor || v.Hello.Token != hello.Token || !sameSubs(v.Hello, hello) {
		v = r.visit("poll", hello, nil)
		r.mu.Lock()
		r.polls[v.id] = v
		r.mu.Unlock()
		r.visits <- v
		first = true
	}
	mine := v.next() // a poll that its client has given up must take nothing
	defer mine.done()
	hold := 20 * time.Second
	if n, err := strconv.Atoi(q.URL.Query().Get("wait")); err == nil {
		hold = time.Duration(n) * time.Second
	}
	var frames []json.RawMessage
	retry, timer := int64(0), time.NewTimer(max(hold, 200*time.Millisecond))
	defer timer.Stop()
wait:
	for frames == nil {
		select {
		case b := <-v.out:
			if b == nil {
				v.leave()
				panic(http.ErrAbortHandler)
			}
			var batch struct {
				Frames []json.RawMessage `json:"frames"`
				Retry  int64             `json:"retry_ms"`
				Cursor string            `json:"cursor"`
				Status int               `json:"status"`
				Error  json.RawMessage   `json:"error"`
			}
			if err := json.Unmarshal(b, &batch); err != nil {
				panic(err) // ours
			}
			if batch.Status != 0 {
				v.leave()
				w.WriteHeader(batch.Status)
				fmt.Fprintf(w, `{"error":%s}`, batch.Error)
				return
			}
			frames, retry, v.answered = batch.Frames, batch.Retry, batch.Cursor
		case <-timer.C:
			break wait
		case <-mine.over:
			return
		case <-q.Context().Done():
			if first { // the client was never told of this session
				v.leave()
			}
			return
		}
	}
	answer, err := json.Marshal(map[string]any{"session": v.id, "frames": orEmpty(frames), "cursor": v.answered, "retry_ms": retry})
	if err != nil {
		panic(err) // ours
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(answer)
}

func orEmpty(f []json.RawMessage) []json.RawMessage {
	if f == nil {
		return []json.RawMessage{}
	}
	return f
}

func sameSubs(a, b wire.Hello) bool {
	if len(a.Subs) != len(b.Subs) {
		return false
	}
	for i := range a.Subs {
		if a.Subs[i].Channel != b.Subs[i].Channel {
			return false
		}
	}
	return true
}

// Ask is a request of a client: over its connection, or over HTTP.
type Ask struct {
	Frame  wire.Frame // *wire.Pub, *wire.History or *wire.PresenceReq
	answer chan wire.Frame
	cut    chan struct{}
}

// Answer gives f to the client.
func (a *Ask) Answer(f wire.Frame) { a.answer <- f }

// Cut loses the answer, and an HTTP request's connection.
func (a *Ask) Cut() { close(a.cut) }

// over HTTP.
func (r *Relay) ask(w http.ResponseWriter, q *http.Request, f wire.Frame, wrap func(http.ResponseWriter, wire.Frame)) {
	a := &Ask{Frame: f, answer: make(chan wire.Frame, 1), cut: make(chan struct{})}
	r.asks <- a
	select {
	case got := <-a.answer:
		w.Header().Set("Content-Type", "application/json")
		wrap(w, got)
	case <-a.cut:
		panic(http.ErrAbortHandler)
	case <-q.Context().Done():
	}
}

func plain(w http.ResponseWriter, f wire.Frame) {
	if e, ok := f.(*wire.Err); ok {
		w.WriteHeader(e.Code.Status())
		fmt.Fprintf(w, `{"error":{"code":%q,"text":%q,"retry_ms":%d}}`, e.Code, e.Text, e.Retry)
		return
	}
	w.Write(wire.AppendJSON(nil, f))
}

func (r *Relay) post(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(io.LimitReader(q.Body, 1<<20))
	if err != nil {
		return
	}
	r.ask(w, q, &wire.Pub{Channel: q.PathValue("channel"), ID: q.Header.Get("Chappe-Id"), Key: q.Header.Get("Chappe-Key"), Event: q.Header.Get("Chappe-Event"), Data: body}, plain)
}

func (r *Relay) batch(w http.ResponseWriter, q *http.Request) {
	var all struct {
		Messages []struct {
			Channel, ID, Key, Event, Enc string
			Data                         json.RawMessage
		}
	}
	if err := json.NewDecoder(io.LimitReader(q.Body, 1<<20)).Decode(&all); err != nil || len(all.Messages) != 1 {
		plain(w, &wire.Err{Code: wire.CodeBadJSON, Text: "a batch of one is expected here"})
		return
	}
	m := all.Messages[0]
	r.ask(w, q, &wire.Pub{Channel: m.Channel, ID: m.ID, Key: m.Key, Event: m.Event, Data: m.Data}, func(w http.ResponseWriter, f wire.Frame) {
		fmt.Fprintf(w, `{"results":[%s]}`, wire.AppendJSON(nil, f))
	})
}

func (r *Relay) history(w http.ResponseWriter, q *http.Request) {
	last, _ := strconv.Atoi(q.URL.Query().Get("last"))
	r.ask(w, q, &wire.History{Channel: q.PathValue("channel"), Cursor: q.URL.Query().Get("cursor"), Last: last}, plain)
}

// origin is the node that all messages of a case come from.
const origin = position.Origin(0x0102030405060708)

// UpTo is the cursor behind message n.
func UpTo(n uint64) string {
	var p position.Position
	p.Raise(origin, n)
	return p.Cursor()
}

// tickOf reads a cursor back: the number of the message that it is behind.
func tickOf(cursor string) (uint64, error) {
	p, err := position.Parse(cursor)
	if err != nil {
		return 0, err
	}
	tick, _ := p.Base(origin)
	return tick, nil
}

// Message is message n of a channel.
func Message(channel string, n uint64) *wire.Msg {
	return &wire.Msg{Channel: channel, Stamp: position.Stamp{Origin: origin, Tick: n, Seq: n}, Data: strconv.AppendUint(nil, n, 10)}
}
