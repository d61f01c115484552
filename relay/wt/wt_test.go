package wt_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// peer is a client by hand.
type peer struct {
	t       *testing.T
	session *webtransport.Session
	control *webtransport.Stream
	heard   source // what comes there
}

func dial(t *testing.T, s *relaytest.Server, subs ...wire.Sub) *peer {
	t.Helper()
	session, err := s.DialWT(t.Context(), "chappe.v1.bin")
	if err != nil {
		t.Fatal(err)
	}
	control, err := session.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, session: session, control: control, heard: source{t: t, from: control}}
	p.send(&wire.Hello{Version: 1, Subs: subs})
	return p
}

func (p *peer) send(f wire.Frame) {
	p.t.Helper()
	b := wire.AppendBinary(nil, f)
	if _, err := p.control.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...)); err != nil {
		p.t.Fatal(err)
	}
}

// source is a byte stream of frames.
type source struct {
	t    *testing.T
	from io.Reader
	in   []byte
	held []wire.Frame
}

// messages reads the frames of a byte stream until it ends.
func messages(t *testing.T, r io.Reader, each func(wire.Frame) (more bool)) {
	t.Helper()
	(&source{t: t, from: r}).each(each)
}

// each hands on what comes until it is enough, or the stream ends.
func (s *source) each(each func(wire.Frame) (more bool)) {
	s.t.Helper()
	for {
		for len(s.held) > 0 {
			f := s.held[0]
			s.held = s.held[1:]
			if !each(f) {
				return
			}
		}
		var some [512]byte
		k, err := s.from.Read(some[:])
		s.in = append(s.in, some[:k]...)
		for {
			n, head := binary.Uvarint(s.in)
			if head <= 0 || uint64(len(s.in)-head) < n {
				break
			}
			fs, derr := wire.DecodeBinary(append([]byte(nil), s.in[head:head+int(n)]...), wire.FromServer)
			if derr != nil {
				s.t.Fatal(derr)
			}
			s.in = s.in[head+int(n):]
			s.held = append(s.held, fs...)
		}
		if err != nil && len(s.held) == 0 {
			return
		}
	}
}

// next reads up to a frame that is wanted; nil at the end.
func next[T wire.Frame](s *source) (out T) {
	s.t.Helper()
	s.each(func(f wire.Frame) bool {
		got, ok := f.(T)
		if ok {
			out = got
		}
		return !ok
	})
	return out
}

// until reads the control stream up to a frame that is wanted.
func until[T wire.Frame](p *peer) (out T) {
	p.t.Helper()
	return next[T](&p.heard)
}

func world(t *testing.T, run func(t *testing.T, s *relaytest.Server)) {
	synctest.Test(t, func(t *testing.T) {
		run(t, relaytest.New(t, relaytest.Open()))
	})
}

func publish(t *testing.T, s *relaytest.Server, channel string, n int) {
	t.Helper()
	for i := range n {
		if _, _, err := s.Publish(channel, relay.Message{Data: []byte(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
}

// A channel that asks for it has a stream of its own, with all that concerns it.
func TestChannelOnItsOwnStream(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "a.1"}, wire.Sub{Channel: "a.2", Via: "stream"})
		own, err := p.session.AcceptUniStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := until[*wire.Subbed](p); got.Channel != "a.1" {
			t.Fatalf("on the control stream: %+v", got)
		}
		publish(t, s, "a.2", 3)
		n := 0
		messages(t, own, func(f wire.Frame) bool {
			switch f := f.(type) {
			case *wire.Subbed:
				if f.Channel != "a.2" {
					t.Errorf("subbed %s", f.Channel)
				}
			case *wire.Msg:
				if string(f.Data) != fmt.Sprint(n) {
					t.Errorf("message %d is %q", n, f.Data)
				}
				n++
			}
			return n < 3
		})
		p.send(&wire.Unsub{Ref: 9, Channel: "a.2"})
		var gone *wire.Unsubbed
		messages(t, own, func(f wire.Frame) bool {
			if u, ok := f.(*wire.Unsubbed); ok {
				gone = u
			}
			return true // to the end of the stream
		})
		if gone == nil || gone.Ref != 9 {
			t.Errorf("unsubscribed: %+v", gone)
		}
		publish(t, s, "a.1", 1)
		if m := until[*wire.Msg](p); m.Channel != "a.1" {
			t.Errorf("the control stream goes on with %+v", m)
		}
	})
}

// What is wrong ends in its code and harms no other client.
func TestBadInput(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		healthy := dial(t, s, wire.Sub{Channel: "a.1"})
		until[*wire.Subbed](healthy)
		for name, c := range map[string]struct {
			raw    []byte
			code   wire.CloseCode
			reason wire.Code
		}{
			"a length over the limit": {binary.AppendUvarint(nil, 1<<40), wire.CloseTooBig, wire.CodeTooBig},
			"no length":               {[]byte(strings.Repeat("\xff", 12)), wire.CloseTooBig, wire.CodeTooBig},
			"an unknown frame":        {[]byte{2, 0x7f, 0}, wire.CloseBadFrame, wire.CodeBadFrame},
			"a server's frame":        {[]byte{2, 0x23, 0}, wire.CloseBadFrame, wire.CodeBadFrame},
			"nothing at all":          {nil, wire.CloseTimeout, wire.CodeTimeout},
		} {
			session, err := s.DialWT(t.Context(), "chappe.v1.bin")
			if err != nil {
				t.Fatal(err)
			}
			control, _ := session.OpenStream()
			control.Write(append([]byte{}, c.raw...))
			_, err = session.AcceptStream(t.Context())
			se, ok := errors.AsType[*webtransport.SessionError](err)
			if !ok || !se.Remote || wire.CloseCode(se.ErrorCode) != c.code {
				t.Errorf("%s: %v, want %d", name, err, c.code)
				continue
			}
			if why, ok := wire.ParseReason(se.Message); !ok || why.Code != c.reason || why.Text == "" || len(se.Message) > 123 {
				t.Errorf("%s: the reason is %s", name, se.Message)
			}
		}
		for _, bad := range []wire.Sub{
			{Ref: 1, Channel: "a.2", Via: "pigeon"}, {Ref: 2, Channel: "a.1", Via: "stream"}, {Ref: 3, Channel: "a..b", Via: "datagram"},
		} {
			healthy.send(&bad)
			if e := until[*wire.Err](healthy); e == nil || e.Ref != bad.Ref {
				t.Errorf("%+v: %+v", bad, e)
			}
		}
		publish(t, s, "a.1", 1)
		if until[*wire.Msg](healthy) == nil {
			t.Error("the healthy client is gone")
		}
	})
}

var streams = flag.Int("streams", 10_000, "streams that TestStreamsDoNotLeak opens and closes")

// Streams that are opened and closed leave nothing behind, whoever closes them.
func TestStreamsDoNotLeak(t *testing.T) {
	ends := map[string]func(s *relaytest.Server, p *peer, own *webtransport.ReceiveStream){
		"left by the client": func(_ *relaytest.Server, p *peer, _ *webtransport.ReceiveStream) { p.send(&wire.Unsub{Channel: "a.1"}) },
		"taken by the relay": func(s *relaytest.Server, _ *peer, _ *webtransport.ReceiveStream) { s.Unsubscribe("", "a.1") },
		"refused by the client": func(s *relaytest.Server, p *peer, own *webtransport.ReceiveStream) {
			own.CancelRead(1)
			synctest.Wait()
			publish(t, s, "a.1", 1)
			until[*wire.Unsubbed](p)
		},
	}
	n := *streams / len(ends)
	for name, end := range ends {
		world(t, func(t *testing.T, s *relaytest.Server) {
			publish(t, s, "a.1", 1000) // its history is full
			p := dial(t, s)
			until[*wire.Welcome](p)
			turn := func() {
				p.send(&wire.Sub{Channel: "a.1", Via: "stream"})
				own, from, _ := p.own()
				end(s, p, own)
				from.each(func(wire.Frame) bool { return true })
			}
			for range 100 {
				turn()
			}
			synctest.Wait()
			before, heap := runtime.NumGoroutine(), live()
			for range n {
				turn()
			}
			synctest.Wait()
			grown := live() - heap
			t.Logf("%s: %d streams: %d goroutines, %d before; %d bytes more", name, n, runtime.NumGoroutine(), before, grown)
			if after := runtime.NumGoroutine(); after > before+5 { // the runtime has some of its own
				t.Errorf("%s: %d goroutines, %d before", name, after, before)
			}
			if grown > 128<<10 { // 40 bytes for each of 3,333 streams; a line alone is more
				t.Errorf("%s: %d bytes more after %d streams", name, grown, n)
			}
		})
	}
}

func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A foreign web origin is refused by a status, at once.
func TestRefusedOverHTTP3(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := s.DialWTFrom(ctx, http.Header{"Origin": {"https://evil.example"}})
		if err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("a foreign origin: %v", err)
		}
		if _, ok := errors.AsType[net.Error](err); ok {
			t.Error("answered by silence")
		}
	})
}
