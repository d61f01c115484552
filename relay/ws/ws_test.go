package ws_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	gws "github.com/gobwas/ws"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run()) // the fuzzing engine keeps goroutines of its own
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for deadline := time.Now().Add(5 * time.Second); code == 0 && runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			os.Stderr.Write(buf[:runtime.Stack(buf, true)])
			code = 1
		}
	}
	os.Exit(code)
}

const hello = `{"t":"hello","subs":[{"channel":"room.1"}]}`

// peer is a client that can do what no library lets it do.
type peer struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
}

// request is an upgrade; lines replace headers ("Name: value") or remove them ("Name:").
func request(lines ...string) string {
	type header struct{ name, value string }
	all := []header{{"Host", "localhost"}, {"Connection", "keep-alive, Upgrade"}, {"Upgrade", "WebSocket"},
		{"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}, {"Sec-WebSocket-Protocol", ""}}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		i := slices.IndexFunc(all, func(h header) bool { return h.name == name })
		if i < 0 {
			all = append(all, header{name: name})
			i = len(all) - 1
		}
		all[i].value = strings.TrimSpace(value)
	}
	var b strings.Builder
	b.WriteString("GET /v1/ws HTTP/1.1\r\n")
	for _, h := range all {
		if h.value != "" {
			b.WriteString(h.name + ": " + h.value + "\r\n")
		}
	}
	return b.String() + "\r\n"
}

// dial opens a WebSocket by hand, and fails the test unless it is upgraded.
func dial(t *testing.T, s *relaytest.Server, lines ...string) *peer {
	t.Helper()
	p := connect(t, s)
	p.send([]byte(request(lines...)))
	if resp := p.answer(); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s", resp.Status)
	}
	return p
}

func connect(t *testing.T, s *relaytest.Server) *peer {
	t.Helper()
	nc, err := s.Dial(t.Context(), "tcp", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return newPeer(t, nc)
}

func newPeer(t *testing.T, nc net.Conn) *peer {
	return &peer{t: t, nc: nc, in: bufio.NewReader(nc)}
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

func (p *peer) answer() *http.Response {
	p.t.Helper()
	resp, err := http.ReadResponse(p.in, nil)
	if err != nil {
		p.t.Fatalf("no answer: %v", err)
	}
	return resp
}

// frame is one frame as a client sends it.
func frame(op gws.OpCode, fin bool, payload string) []byte {
	return gws.MustCompileFrame(gws.MaskFrameInPlaceWith(gws.NewFrame(op, fin, []byte(payload)), [4]byte{1, 2, 3, 4}))
}

func message(payload string) []byte { return frame(gws.OpText, true, payload) }

// read returns the next frame of the server.
func (p *peer) read() gws.Frame {
	p.t.Helper()
	f, err := p.tryRead()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return f
}

func (p *peer) tryRead() (f gws.Frame, err error) {
	if f.Header, err = gws.ReadHeader(p.in); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(p.in, f.Payload)
	return f, err
}

// next returns the next protocol frame of one of the types; others are passed over.
func (p *peer) next(types ...string) map[string]any {
	p.t.Helper()
	for {
		f := p.read()
		if f.Header.OpCode != gws.OpText {
			p.t.Fatalf("opcode %d before %v: %q", f.Header.OpCode, types, f.Payload)
		}
		var m map[string]any
		if err := json.Unmarshal(f.Payload, &m); err != nil {
			p.t.Fatalf("%q: %v", f.Payload, err)
		}
		if slices.Contains(types, m["t"].(string)) {
			return m
		}
	}
}

// ended reads to the close frame, answers it and sees the connection end.
func (p *peer) ended(code wire.CloseCode, is wire.Code) {
	p.t.Helper()
	for {
		f := p.read()
		if f.Header.OpCode != gws.OpClose {
			continue
		}
		reason, ours := wire.ParseReason(f.Payload[2:])
		if got := binary.BigEndian.Uint16(f.Payload); got != uint16(code) || reason.Code != is || !ours {
			p.t.Fatalf("closed with %d %q, want %d %s", got, f.Payload[2:], code, is)
		}
		break
	}
	p.nc.Write(frame(gws.OpClose, true, string(binary.BigEndian.AppendUint16(nil, uint16(code)))))
	if f, err := p.tryRead(); err == nil {
		p.t.Fatalf("opcode %d behind the close frame", f.Header.OpCode)
	}
}

// each runs a test against a fresh relay in virtual time.
func each(t *testing.T, test func(t *testing.T, s *relaytest.Server)) {
	synctest.Test(t, func(t *testing.T) {
		s := relaytest.New(t, relaytest.Open())
		test(t, s)
		synctest.Wait() // an upgrade that is still under way is not what the test is about
	})
}

func TestUpgrade(t *testing.T) {
	for _, c := range []struct{ offered, want string }{
		{"", ""}, {"chappe.v1.json", "chappe.v1.json"}, {"chappe.v1.bin", "chappe.v1.bin"},
		{"x, chappe.v1.bin, chappe.v1.json", "chappe.v1.bin"}, {"chappe.v1.json,chappe.v1.bin", "chappe.v1.json"},
	} {
		each(t, func(t *testing.T, s *relaytest.Server) {
			p := connect(t, s)
			p.send([]byte(request("Sec-WebSocket-Protocol: " + c.offered)))
			resp := p.answer()
			if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Protocol") != c.want ||
				resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || // RFC 6455 §1.3
				resp.Header.Get("Sec-WebSocket-Extensions") != "" {
				t.Errorf("%q: %s %v", c.offered, resp.Status, resp.Header)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		line, code string
	}{
		{"Upgrade:", "bad_request"}, {"Upgrade: h2c", "bad_request"}, {"Connection: close", "bad_request"},
		{"Sec-WebSocket-Version:", "bad_version"}, {"Sec-WebSocket-Version: 8", "bad_version"},
		{"Sec-WebSocket-Key:", "bad_request"}, {"Sec-WebSocket-Key: short", "bad_request"},
		{"Sec-WebSocket-Protocol: mqtt, chappe.v9.json", "bad_version"},
	} {
		each(t, func(t *testing.T, s *relaytest.Server) {
			p := connect(t, s)
			p.send([]byte(request(c.line)))
			resp := p.answer()
			body, _ := io.ReadAll(resp.Body)
			var e struct{ Error struct{ Code, Text string } }
			if err := json.Unmarshal(body, &e); err != nil || resp.StatusCode != 400 || e.Error.Code != c.code || e.Error.Text == "" {
				t.Errorf("%s: %s %s", c.line, resp.Status, body)
			}
			if c.code == "bad_version" && resp.Header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("%s: the version is not told", c.line)
			}
			p.nc.Close()
		})
	}
}

// A hello that comes in one piece with the request is not lost, wherever it is cut.
func TestPipelinedHello(t *testing.T) {
	all := append([]byte(request()), message(hello)...)
	for _, cut := range []int{len(all), len(all) - 1, len(all) - len(hello), len(all) - len(hello) - 5} {
		each(t, func(t *testing.T, s *relaytest.Server) {
			p := connect(t, s)
			go func() {
				p.nc.Write(all[:cut])
				p.nc.Write(all[cut:])
			}()
			if resp := p.answer(); resp.StatusCode != 101 {
				t.Fatal(resp.Status)
			}
			p.next("subbed")
		})
	}
}

func TestHelloInTime(t *testing.T) {
	for name, sent := range map[string][]byte{
		"nothing": nil, "half a frame": message(hello)[:20], "pings": frame(gws.OpPing, true, ""), "a fragment": frame(gws.OpText, false, "{"),
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *relaytest.Server) {
				p := dial(t, s)
				begun := time.Now()
				if sent != nil {
					p.send(sent)
				}
				p.ended(wire.CloseTimeout, wire.CodeTimeout)
				if took := time.Since(begun); took != 5*time.Second {
					t.Errorf("after %v", took)
				}
			})
		})
	}
	each(t, func(t *testing.T, s *relaytest.Server) { // and who said hello stays
		p := dial(t, s)
		p.send(message(hello))
		for range 10 {
			p.next("ping")
			p.send(message(`{"t":"pong"}`))
		}
	})
}

// Bad input gets its code, and nobody else's connection is harmed.
func TestBadInput(t *testing.T) {
	for _, c := range []struct {
		name  string
		in    []byte
		close wire.CloseCode
		code  wire.Code
	}{
		{"not JSON", message(`{"t":`), wire.CloseBadFrame, wire.CodeBadJSON},
		{"unknown frame", message(`{"t":"launch"}`), wire.CloseBadFrame, wire.CodeBadFrame},
		{"a server's frame", message(`{"t":"welcome"}`), wire.CloseBadFrame, wire.CodeBadFrame},
		{"binary in the JSON form", frame(gws.OpBinary, true, hello), wire.CloseBadFrame, wire.CodeBadFrame},
		{"not UTF-8", message("\"\xff\""), wire.CloseBadUTF8, wire.CodeBadUTF8},
		{"too big", []byte{0x81, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 1, 2, 3, 4}, wire.CloseTooBig, wire.CodeTooBig},
		{"not masked", []byte{0x81, 0x02, '{', '}'}, wire.CloseProtocol, wire.CodeBadFrame},
		{"reserved opcode", []byte{0x83, 0x80, 1, 2, 3, 4}, wire.CloseProtocol, wire.CodeBadFrame},
		{"fragments", slices.Concat(frame(gws.OpText, false, ""), bytes.Repeat(frame(gws.OpContinuation, false, ""), 128)), wire.ClosePolicy, wire.CodeTooMany},
		{"another hello", message(hello), wire.CloseBadFrame, wire.CodeBadFrame},
		{"a bad close code", frame(gws.OpClose, true, "\x03\xed"), wire.CloseProtocol, wire.CodeBadFrame},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, s *relaytest.Server) {
				other := dial(t, s)
				other.send(message(hello))
				other.next("subbed")
				p := dial(t, s)
				p.send(message(hello))
				p.next("subbed")
				begun := time.Now()
				p.send(c.in)
				p.ended(c.close, c.code)
				if took := time.Since(begun); took > time.Second {
					t.Errorf("took %v", took)
				}
				other.send(message(`{"t":"pub","ref":1,"channel":"room.1","data":1}`))
				if m := other.next("msg"); m["channel"] != "room.1" {
					t.Errorf("%v", m)
				}
			})
		})
	}
	each(t, func(t *testing.T, s *relaytest.Server) { // and before hello
		p := dial(t, s)
		p.send(message(`{"t":"pub","channel":"room.1","data":1}`))
		p.ended(wire.CloseBadFrame, wire.CodeBadFrame)
	})
	each(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, "Sec-WebSocket-Protocol: chappe.v1.bin")
		p.send(message(hello))
		p.ended(wire.CloseBadFrame, wire.CodeBadFrame)
	})
}

// Frames of a batch are understood wherever the network cuts them, down to
// single bytes; what they ask for happens once and in order.
func TestEverySplit(t *testing.T) {
	batch := slices.Concat(
		message(`{"t":"pub","ref":1,"channel":"room.1","data":"caf\u00e9 \u00e9"}`),
		frame(gws.OpPing, true, "between"),
		frame(gws.OpText, false, `{"t":"pub","ref":2,`), frame(gws.OpContinuation, true, `"channel":"room.1","data":2}`),
	)
	check := func(t *testing.T, s *relaytest.Server, chunks ...[]byte) {
		t.Helper()
		p := dial(t, s)
		p.send(message(hello))
		p.next("subbed")
		go func() {
			for _, c := range chunks {
				p.nc.Write(c)
			}
		}()
		var acks []any
		ponged := false
		for len(acks) < 2 || !ponged {
			f := p.read()
			switch f.Header.OpCode {
			case gws.OpPong:
				if ponged = string(f.Payload) == "between"; !ponged {
					t.Fatalf("pong %q", f.Payload)
				}
			case gws.OpText:
				var m map[string]any
				if err := json.Unmarshal(f.Payload, &m); err != nil {
					t.Fatal(err)
				}
				if m["t"] == "ack" {
					acks = append(acks, m["ref"])
				}
			default:
				t.Fatalf("opcode %d %q", f.Header.OpCode, f.Payload)
			}
		}
		if acks[0] != 1.0 || acks[1] != 2.0 {
			t.Fatalf("%v", acks)
		}
		p.nc.Close()
	}
	each(t, func(t *testing.T, s *relaytest.Server) {
		for i := 1; i < len(batch); i++ {
			check(t, s, batch[:i], batch[i:])
		}
	})
	each(t, func(t *testing.T, s *relaytest.Server) {
		single := make([][]byte, len(batch))
		for i := range batch {
			single[i] = batch[i : i+1]
		}
		check(t, s, single...)
	})
}

// A client that leaves with a close frame gets one back.
func TestClientCloses(t *testing.T) {
	each(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s)
		p.send(message(hello))
		p.next("subbed")
		p.send(frame(gws.OpClose, true, "\x03\xe8bye"))
		for {
			f := p.read()
			if f.Header.OpCode == gws.OpClose {
				if len(f.Payload) < 2 || binary.BigEndian.Uint16(f.Payload) != 1000 {
					t.Errorf("%q", f.Payload)
				}
				break
			}
		}
		if _, err := p.tryRead(); err == nil {
			t.Error("a frame behind the close frame")
		}
		synctest.Wait()
		if n := len(s.Connections()); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// An end by the server takes at most a few seconds, whatever the client does.
func TestServerCloses(t *testing.T) {
	each(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s)
		p.send(message(hello))
		p.next("subbed")
		begun := time.Now()
		s.Close() // the client neither reads nor answers
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
	each(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s)
		p.send(message(hello))
		p.next("subbed")
		stopped := make(chan struct{})
		go func() { s.Close(); close(stopped) }()
		p.ended(wire.CloseRestart, wire.CodeDraining)
		<-stopped
	})
}

// A client of another make, over real sockets.
func TestInterop(t *testing.T) {
	srv := serve(t, func(s *httptest.Server) { s.Start() })
	interopAll(t, srv)
}

func interopAll(t *testing.T, srv *httptest.Server) {
	for _, protocol := range []string{"chappe.v1.json", "chappe.v1.bin"} {
		for _, size := range []int{1, 100, 5_000, 60_000} { // each of the three lengths of a frame, and several reads
			t.Run(fmt.Sprintf("%s %d", protocol, size), func(t *testing.T) { interop(t, srv, protocol, size) })
		}
	}
}

// serve runs a relay on a real socket for the length of a test.
func serve(t *testing.T, start func(*httptest.Server)) *httptest.Server {
	t.Helper()
	r, err := relay.New(relaytest.Open())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	srv := httptest.NewUnstartedServer(r.Handler())
	start(srv)
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return srv
}

func interop(t *testing.T, srv *httptest.Server, protocol string, size int) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, _, err := websocket.Dial(ctx, srv.URL+"/v1/ws", &websocket.DialOptions{Subprotocols: []string{protocol}, HTTPClient: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	send := func(f wire.Frame) {
		t.Helper()
		kind, b := websocket.MessageText, wire.AppendJSON(nil, f)
		if protocol == "chappe.v1.bin" {
			kind, b = websocket.MessageBinary, wire.AppendBinary(nil, f)
		}
		if err := c.Write(ctx, kind, b); err != nil {
			t.Fatal(err)
		}
	}
	channel := fmt.Sprintf("interop.%d", size)
	data := []byte(`"` + strings.Repeat("x", size) + `"`)
	send(&wire.Hello{Version: 1, Subs: []wire.Sub{{Ref: 7, Channel: channel}}})
	got := 0
	for got < 3 {
		kind, b, err := c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		decode := wire.DecodeJSON
		if kind == websocket.MessageBinary {
			decode = wire.DecodeBinary
		}
		if (kind == websocket.MessageBinary) != (protocol == "chappe.v1.bin") {
			t.Fatalf("%v in %s", kind, protocol)
		}
		frames, err := decode(b, wire.FromServer)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			switch f := f.(type) {
			case *wire.Subbed:
				for i := range 3 {
					send(&wire.Pub{Ref: uint32(i + 1), Channel: channel, Data: data})
				}
			case *wire.Msg:
				if f.Channel != channel || !bytes.Equal(f.Data, data) {
					t.Fatalf("%s, %d bytes", f.Channel, len(f.Data))
				}
				got++
			case *wire.Err:
				t.Fatalf("%s: %s", f.Code, f.Text)
			}
		}
	}
	go func() { // Ping needs a reader; an answer may still be on its way
		for err := error(nil); err == nil; {
			_, _, err = c.Read(ctx)
		}
	}()
	if err := c.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("close: %v", err)
	}
}
