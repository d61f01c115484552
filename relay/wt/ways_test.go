package wt_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// own accepts the stream of a channel that was asked for, and reads its grant.
func (p *peer) own() (*webtransport.ReceiveStream, *source, *wire.Subbed) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	stream, err := p.session.AcceptUniStream(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	s := &source{t: p.t, from: stream}
	return stream, s, next[*wire.Subbed](s)
}

// A stream whose subscription the relay ends is closed, and the channel can be had
// again on another one, as often as it likes.
func TestStreamEndsWithItsSubscription(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "a.1"})
		for range 100 { // more than there may be streams
			p.send(&wire.Sub{Channel: "a.2", Via: "stream"})
			_, own, _ := p.own()
			if n := s.Unsubscribe("", "a.2"); n != 1 {
				t.Fatalf("%d subscriptions ended", n)
			}
			var gone *wire.Unsubbed
			own.each(func(f wire.Frame) bool { // to the end of the stream
				if u, ok := f.(*wire.Unsubbed); ok {
					gone = u
				}
				return true
			})
			if gone == nil || gone.Code != wire.CodeRevoked {
				t.Fatalf("told %+v", gone)
			}
		}
		p.send(&wire.Sub{Ref: 9, Channel: "a.2"}) // and with the others
		until[*wire.Subbed](p)
		if got := until[*wire.Subbed](p); got == nil || got.Ref != 9 {
			t.Errorf("%+v", got)
		}
	})
}

// A client that wants a stream no more (RFC 9000 §3.5) has left that channel, and
// nothing else.
func TestRefusedStreamEndsAlone(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "a.1"})
		p.send(&wire.Sub{Channel: "a.2", Via: "stream"})
		refused, _, _ := p.own()
		p.send(&wire.Sub{Channel: "a.3", Via: "stream"})
		_, other, _ := p.own()
		refused.CancelRead(1)
		synctest.Wait()
		publish(t, s, "a.2", 1)
		if got := until[*wire.Unsubbed](p); got == nil || got.Channel != "a.2" || got.Code != "" {
			t.Fatalf("%+v", got)
		}
		publish(t, s, "a.1", 1)
		publish(t, s, "a.3", 1)
		if m := until[*wire.Msg](p); m == nil || m.Channel != "a.1" {
			t.Errorf("%+v", m)
		}
		if next[*wire.Msg](other) == nil {
			t.Error("a stream is gone with another")
		}
		p.send(&wire.Sub{Channel: "a.2", Via: "stream"})
		p.own()
	})
}

// large publishes n messages of a channel that are more than a window holds.
func large(t *testing.T, s *relaytest.Server, channel string, n int) {
	t.Helper()
	for i := range n {
		if _, _, err := s.Publish(channel, relay.Message{Data: fmt.Appendf(nil, "%060000d", i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// alive answers nothing but is heard, until the session ends.
func (p *peer) alive() {
	pong := wire.AppendBinary(nil, &wire.Pong{})
	message := append(binary.AppendUvarint(nil, uint64(len(pong))), pong...)
	for {
		select {
		case <-p.session.Context().Done():
			return
		case <-time.After(5 * time.Second):
			p.control.Write(message)
		}
	}
}

// roomy keeps all that a test publishes.
func roomy(t *testing.T, run func(t *testing.T, s *relaytest.Server)) {
	cfg := relaytest.Open()
	o := cfg.Namespaces["*"]
	o.Bytes = 64 << 20
	cfg.Namespaces = map[string]namespace.Options{"*": o}
	synctest.Test(t, func(t *testing.T) { run(t, relaytest.New(t, cfg)) })
}

// A stream that is not read holds up no other, and is given up alone: what it would
// have brought can be had with the cursor.
func TestUnreadStreamEndsAlone(t *testing.T) {
	roomy(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "a.1"})
		until[*wire.Subbed](p)
		p.send(&wire.Sub{Channel: "a.2", Via: "stream"})
		_, _, granted := p.own()
		p.send(&wire.Sub{Channel: "a.3", Via: "stream"})
		_, other, _ := p.own()
		go p.alive()
		const n = 40
		large(t, s, "a.2", n)
		began := time.Now()
		for range 15 {
			publish(t, s, "a.1", 1)
			publish(t, s, "a.3", 1)
			before := time.Now()
			if m := until[*wire.Msg](p); m == nil || m.Channel != "a.1" {
				t.Fatalf("%+v", m)
			}
			if m := next[*wire.Msg](other); m == nil {
				t.Fatal("a stream is gone with another")
			}
			if took := time.Since(before); took > 100*time.Millisecond {
				t.Errorf("the other channels waited for %v", took)
			}
			time.Sleep(time.Second)
		}
		got := until[*wire.Unsubbed](p)
		if took := time.Since(began); got == nil || got.Channel != "a.2" || got.Code != wire.CodeSlow || took < 19*time.Second || took > 22*time.Second {
			t.Fatalf("after %v: %+v", took, got)
		}
		p.send(&wire.Sub{Channel: "a.2", Cursor: granted.Cursor, Via: "stream"})
		_, again, _ := p.own()
		for i := range n {
			if m := next[*wire.Msg](again); m == nil || m.Stamp.Seq != uint64(i+1) {
				t.Fatalf("message %d: %+v", i, m)
			}
		}
	})
}

// Without its control stream a client is gone, and is told why in case it is not.
func TestUnreadControlStreamEndsTheSession(t *testing.T) {
	roomy(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "a.1"})
		until[*wire.Subbed](p)
		go p.alive()
		large(t, s, "a.1", 40)
		began := time.Now()
		_, err := p.session.AcceptStream(t.Context())
		se, ok := errors.AsType[*webtransport.SessionError](err)
		if !ok || !se.Remote || wire.CloseCode(se.ErrorCode) != wire.CloseSlow {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if why, ok := wire.ParseReason(se.Message); !ok || why.Code != wire.CodeSlow || why.Retry == 0 {
			t.Errorf("reason %q", se.Message)
		}
	})
}

// A client that refuses the control stream has left.
func TestRefusedControlStreamEndsTheSession(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "a.1"})
		until[*wire.Subbed](p)
		p.control.CancelRead(1)
		synctest.Wait()
		publish(t, s, "a.1", 1)
		_, err := p.session.AcceptStream(t.Context())
		if se, ok := errors.AsType[*webtransport.SessionError](err); !ok || !se.Remote || wire.CloseCode(se.ErrorCode) != wire.CloseNormal {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.Clients(); n != 0 {
			t.Errorf("%d clients", n)
		}
	})
}
