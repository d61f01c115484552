package scenario

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/bench/target"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// fake is a tiny relay in this process: enough protocol for the load generator,
// with queues that have no bound. drop and repeat make it a faulty one.
type fake struct {
	http         *httptest.Server
	drop, repeat uint64 // tick of a message that is lost, or sent twice; 0: none

	mu       sync.Mutex
	tick     uint64
	channels map[string][]*wire.Msg
	subs     map[*fakeConn]bool
}

// fakeConn is one connection; its queue is written by one goroutine.
type fakeConn struct {
	conn    net.Conn
	form    string // "chappe.v1.bin", "chappe.v1.json", "sse"
	channel string

	mu    sync.Mutex
	queue []byte
	more  chan struct{}
	done  chan struct{}
}

const origin = position.Origin(7)

func newFake(t *testing.T) *fake {
	f := &fake{channels: make(map[string][]*wire.Msg), subs: make(map[*fakeConn]bool)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ws", f.socket)
	mux.HandleFunc("GET /v1/sse", f.events)
	mux.HandleFunc("POST /v1/channels/{channel}/messages", f.post)
	f.http = httptest.NewServer(mux)
	t.Cleanup(f.http.Close)
	return f
}

func (f *fake) Address() netip.AddrPort {
	return netip.MustParseAddrPort(f.http.Listener.Addr().String())
}

func (f *fake) CPU() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

func (f *fake) RSS() (int64, error)                      { return int64(os.Getpagesize()), nil }
func (f *fake) Queues() (map[uint16]target.Queue, error) { return nil, nil }

// Plug takes any plugin: the fake delivers everything anyway.
func (f *fake) Plug(context.Context, string, []byte, string) error { return nil }

func (f *fake) Stop() error { f.http.CloseClientConnections(); return nil }

func (f *fake) publish(channel string, data []byte) position.Stamp {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tick++
	m := &wire.Msg{Channel: channel, Stamp: position.Stamp{Origin: origin, Tick: f.tick, Seq: f.tick}, Data: data}
	f.channels[channel] = append(f.channels[channel], m)
	if f.tick == f.drop {
		return m.Stamp
	}
	for c := range f.subs {
		if c.channel == channel {
			c.message(m)
			if f.tick == f.repeat {
				c.message(m)
			}
		}
	}
	return m.Stamp
}

// follow replays what came after the cursor and follows the channel.
func (f *fake) follow(c *fakeConn, channel, cursor string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.channel = channel
	from := f.tick
	if cursor != "" {
		p, err := position.Parse(cursor)
		if err != nil {
			return fmt.Errorf("cursor: %w", err)
		}
		from, _ = p.Base(origin)
	}
	var p position.Position
	p.Raise(origin, from)
	if c.form == "sse" {
		c.put([]byte("id: " + p.Cursor() + "\n\n"))
	} else {
		c.frame(&wire.Subbed{Channel: channel, Cursor: p.Cursor()})
	}
	for _, m := range f.channels[channel] {
		if m.Stamp.Tick > from {
			c.message(m)
		}
	}
	f.subs[c] = true
	return nil
}

func (f *fake) gone(c *fakeConn) {
	f.mu.Lock()
	delete(f.subs, c)
	f.mu.Unlock()
	close(c.done)
	_ = c.conn.Close() // the client may have closed it
}

func (f *fake) take(w http.ResponseWriter, head, form string) (*fakeConn, *bufio.Reader) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, nil
	}
	c := &fakeConn{conn: conn, form: form, more: make(chan struct{}, 1), done: make(chan struct{})}
	c.put([]byte(head))
	go c.write()
	return c, rw.Reader
}

func (f *fake) socket(w http.ResponseWriter, r *http.Request) {
	form := r.Header.Get("Sec-WebSocket-Protocol")
	c, in := f.take(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: "+form+"\r\n\r\n", form)
	if c == nil {
		return
	}
	defer f.gone(c)
	c.frame(&wire.Ping{}) // a client must bear one at any time
	for {
		body, err := readMasked(in)
		if err != nil {
			return
		}
		var frames []wire.Frame
		if form == "chappe.v1.json" {
			frames, err = wire.DecodeJSON(body, wire.FromClient)
		} else {
			frames, err = wire.DecodeBinary(body, wire.FromClient)
		}
		if err != nil {
			return
		}
		for _, fr := range frames {
			switch fr := fr.(type) {
			case *wire.Hello:
				c.frame(&wire.Welcome{Version: 1, Session: "s"})
				for _, s := range fr.Subs {
					if f.follow(c, s.Channel, s.Cursor) != nil {
						return
					}
				}
			case *wire.Pub:
				s := f.publish(fr.Channel, fr.Data)
				if fr.Ref != 0 {
					c.frame(&wire.Ack{Ref: fr.Ref, Stamp: s})
				}
			}
		}
	}
}

func (f *fake) events(w http.ResponseWriter, r *http.Request) {
	c, in := f.take(w, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1000\n: hello\n\n", "sse")
	if c == nil {
		return
	}
	defer f.gone(c)
	if f.follow(c, r.URL.Query().Get("channel"), r.Header.Get("Last-Event-ID")) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, in) // until the client goes
}

func (f *fake) post(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Authorization") != "Bearer "+target.Key {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	fmt.Fprintf(w, `{"tick":%d}`, f.publish(r.PathValue("channel"), data).Tick)
}

func (c *fakeConn) message(m *wire.Msg) {
	if c.form != "sse" {
		c.frame(m)
		return
	}
	var p position.Position
	p.Raise(origin, m.Stamp.Tick)
	c.put([]byte("id: " + p.Cursor() + "\ndata: " + string(wire.AppendJSON(nil, m)) + "\n\n"))
}

func (c *fakeConn) frame(f wire.Frame) {
	opcode, body := byte(2), []byte(nil)
	if c.form == "chappe.v1.json" {
		opcode, body = 1, wire.AppendJSON(nil, f)
	} else {
		body = wire.AppendBinary(nil, f)
	}
	head := []byte{0x80 | opcode, byte(len(body))}
	if len(body) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{0x80 | opcode, 126}, uint16(len(body)))
	}
	c.put(append(head, body...))
}

func (c *fakeConn) put(b []byte) {
	c.mu.Lock()
	c.queue = append(c.queue, b...)
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *fakeConn) write() {
	for {
		select {
		case <-c.done:
			return
		case <-c.more:
		}
		c.mu.Lock()
		b := c.queue
		c.queue = nil
		c.mu.Unlock()
		if _, err := c.conn.Write(b); err != nil {
			_ = c.conn.Close() // the reader ends then
			return
		}
	}
}

// readMasked reads one WebSocket message of a client and unmasks it.
func readMasked(in *bufio.Reader) ([]byte, error) {
	var head [14]byte
	if _, err := io.ReadFull(in, head[:2]); err != nil {
		return nil, err
	}
	size := uint64(head[1] & 0x7f)
	switch size {
	case 126:
		if _, err := io.ReadFull(in, head[:2]); err != nil {
			return nil, err
		}
		size = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		return nil, fmt.Errorf("a message that is too long")
	}
	mask := head[:4]
	if _, err := io.ReadFull(in, mask); err != nil {
		return nil, err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(in, body); err != nil {
		return nil, err
	}
	for i := range body {
		body[i] ^= mask[i%4]
	}
	return body, nil
}

func environment(f *fake, t *testing.T) *Environment {
	return &Environment{
		Small: true,
		Start: func(context.Context) (Target, error) { return f, nil },
		Say:   func(format string, args ...any) { t.Log(strings.TrimSpace(fmt.Sprintf(format, args...))) },
	}
}

// elsewhere says that the server is at an address reserved for documents (RFC 5737).
func (e *Environment) elsewhere() *Environment {
	start := e.Start
	e.Start = func(ctx context.Context) (Target, error) {
		t, err := start(ctx)
		return away{t}, err
	}
	return e
}

type away struct{ Target }

func (away) Address() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.1:80") }
