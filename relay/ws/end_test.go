package ws_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	gws "github.com/gobwas/ws"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// A close frame is answered with its own code (RFC 6455 §5.5.1).
func TestCloseCodeIsEchoed(t *testing.T) {
	for _, code := range []uint16{1000, 1001, 3000, 4999} {
		each(t, func(t *testing.T, s *relaytest.Server) {
			p := dial(t, s)
			p.send(frame(gws.OpClose, true, string(binary.BigEndian.AppendUint16(nil, code))))
			if f := p.read(); f.Header.OpCode != gws.OpClose || len(f.Payload) != 2 || binary.BigEndian.Uint16(f.Payload) != code {
				t.Errorf("%d: opcode %d %q", code, f.Header.OpCode, f.Payload)
			}
		})
	}
}

// lines is a logger's output.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// A client that is cut because it does not read is not one that left.
func TestStalledIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		cfg := relaytest.Open()
		cfg.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		s := relaytest.New(t, cfg)
		p := dial(t, s)
		p.send(message(hello))
		p.next("subbed")
		time.Sleep(time.Second / 2) // what follows is between the relay's ticks
		for range 60 {              // it says that it lives, and reads nothing
			p.send(message(`{"t":"pong"}`))
			time.Sleep(time.Second)
			synctest.Wait()
			if len(s.Connections()) == 0 {
				break
			}
			if _, _, err := s.Publish("room.1", relay.Message{Data: []byte("1")}); err != nil {
				t.Fatal(err)
			}
		}
		log.mu.Lock()
		defer log.mu.Unlock()
		for line := range strings.Lines(log.b.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			if m["msg"] == "close" {
				if m["reason"] != "slow" {
					t.Errorf("%s", line)
				}
				return
			}
		}
		t.Error("it was not closed")
	})
}

// A node that refuses a connection says when to come back, and what the client
// had sent by then does not reset what it is told.
func TestRefusedIsTold(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Limits.Connections = 1
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	srv := httptest.NewServer(r.Handler())
	defer func() {
		stop()
		<-ended
		srv.Close()
	}()
	connect := func() *peer {
		nc, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		p := newPeer(t, nc)
		p.send(append([]byte(request()), message(hello)...))
		if resp := p.answer(); resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(resp.Status)
		}
		return p
	}
	first := connect()
	first.next("subbed")
	for range 20 {
		p := connect()
		p.nc.Write(bytes.Repeat(message(`{"t":"pong"}`), 100)) // more than was read with the request
		f := p.read()
		if f.Header.OpCode != gws.OpClose || binary.BigEndian.Uint16(f.Payload) != uint16(wire.CloseOverloaded) {
			t.Fatalf("opcode %d %q", f.Header.OpCode, f.Payload)
		}
		if _, err := p.tryRead(); !errors.Is(err, io.EOF) { // shut, not reset
			t.Fatalf("%v", err)
		}
		p.nc.Close()
	}
}

// The end of Run tells every client when to come back, and leaves nothing behind.
func TestRestart(t *testing.T) {
	before := runtime.NumGoroutine()
	r, err := relay.New(relaytest.Open())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var clients []*websocket.Conn
	for i := range 20 {
		protocol := []string{"chappe.v1.json", "chappe.v1.bin"}[i%2]
		c, _, err := websocket.Dial(patience, srv.URL+"/v1/ws", &websocket.DialOptions{Subprotocols: []string{protocol}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		kind, b := websocket.MessageText, []byte(hello)
		if i%2 == 1 {
			kind, b = websocket.MessageBinary, wire.AppendBinary(nil, &wire.Hello{Version: 1})
		}
		if err := c.Write(patience, kind, b); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(patience); err != nil { // welcome
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	stop()
	for i, c := range clients {
		var end websocket.CloseError
		for {
			if _, _, err := c.Read(patience); err != nil {
				if !errors.As(err, &end) {
					t.Fatalf("client %d: %v", i, err)
				}
				break
			}
		}
		var reason map[string]any
		if err := json.Unmarshal([]byte(end.Reason), &reason); err != nil {
			t.Fatalf("%q: %v", end.Reason, err)
		}
		if _, ok := reason["retry_ms"].(float64); !ok || end.Code != websocket.StatusServiceRestart || reason["code"] != "draining" {
			t.Errorf("client %d: %d %q", i, end.Code, end.Reason)
		}
		c.CloseNow()
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	srv.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// An upgrade may come at any moment of the relay's end.
func TestLateUpgrade(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			s := relaytest.New(t, relaytest.Open())
			for range 3 {
				p := connect(t, s)
				go func() {
					p.nc.Write([]byte(request()))
					io.Copy(io.Discard, p.nc)
				}()
			}
			s.Close()
		})
	}
}
