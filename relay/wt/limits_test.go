package wt_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// raw is a client that no library keeps within the rules.
type raw struct {
	t       *testing.T
	conn    *quic.Conn
	request *http3.RequestStream
	control *quic.Stream
}

// Numbers of draft-ietf-webtrans-http3: the setting, the type of a bidirectional
// stream, and the capsule that closes.
const (
	settingEnabled = 0x2c7cf000
	streamType     = 0x41
	closeCapsule   = 0x2843
)

func dialRaw(t *testing.T, s *relaytest.Server) *raw {
	t.Helper()
	conn, err := s.DialQUIC(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	tr := &http3.Transport{EnableDatagrams: true, AdditionalSettings: map[uint64]uint64{settingEnabled: 1}}
	client := tr.NewClientConn(conn)
	<-client.ReceivedSettings()
	request, err := client.OpenRequestStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u := &url.URL{Scheme: "https", Host: "localhost", Path: "/v1/wt"}
	err = request.SendRequestHeader((&http.Request{Method: http.MethodConnect, Proto: "webtransport-h3", Host: u.Host, URL: u,
		Header: http.Header{"Wt-Available-Protocols": {`"chappe.v1.bin"`}}}).WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := request.ReadResponse()
	if err != nil || answer.StatusCode != 200 {
		t.Fatal(answer, err)
	}
	return &raw{t: t, conn: conn, request: request}
}

// capsule sends one (RFC 9297 §3.2).
func (r *raw) capsule(kind uint64, value []byte) {
	r.t.Helper()
	b := quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(value)))
	if _, err := r.request.Write(append(b, value...)); err != nil {
		r.t.Fatal(err)
	}
}

// hello opens the control stream and waits for the welcome.
func (r *raw) hello() {
	r.t.Helper()
	var err error
	if r.control, err = r.conn.OpenStream(); err != nil {
		r.t.Fatal(err)
	}
	b := quicvarint.Append(quicvarint.Append(nil, streamType), uint64(r.request.StreamID()))
	f := wire.AppendBinary(nil, &wire.Hello{Version: 1})
	if _, err := r.control.Write(append(binary.AppendUvarint(b, uint64(len(f))), f...)); err != nil {
		r.t.Fatal(err)
	}
	welcome := false
	messages(r.t, r.control, func(f wire.Frame) bool {
		_, welcome = f.(*wire.Welcome)
		return !welcome
	})
	if !welcome {
		r.t.Fatal("no welcome")
	}
}

// Capsules that are not known are passed over (RFC 9297 §3.2), also large ones and
// many.
func TestUnknownCapsules(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		r := dialRaw(t, s)
		r.capsule(0x2f4a7, []byte("grease"))
		r.hello()
		for range 200 {
			r.capsule(0x1f*7+0x21, make([]byte, 4<<10))
		}
		r.send(&wire.Sub{Ref: 7, Channel: "a.1"})
		subbed := false
		messages(t, r.control, func(f wire.Frame) bool {
			_, subbed = f.(*wire.Subbed)
			return !subbed
		})
		if !subbed {
			t.Error("the session is gone")
		}
	})
}

func (r *raw) send(f wire.Frame) {
	r.t.Helper()
	b := wire.AppendBinary(nil, f)
	if _, err := r.control.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...)); err != nil {
		r.t.Fatal(err)
	}
}

// A reason that is far too long, or a capsule that ends in the middle, ends the
// client's own session, whose connection the relay then closes, and nothing is kept
// of it.
func TestCloseReasonsOfClients(t *testing.T) {
	ends := map[string]func(r *raw){
		"with a reason": func(r *raw) { r.capsule(closeCapsule, append([]byte{0, 0, 3, 0xe8}, "good night"...)) },
		"a long reason": func(r *raw) { // what is too long may not be read to its end
			b := quicvarint.Append(quicvarint.Append(nil, closeCapsule), 4+100_000)
			go r.request.Write(append(append(b, 0, 0, 0, 9), bytes.Repeat([]byte("long "), 20_000)...))
		},
		"half a code": func(r *raw) { r.capsule(closeCapsule, []byte{1}) },
		"cut": func(r *raw) {
			r.request.Write(quicvarint.Append(quicvarint.Append(nil, closeCapsule), 1<<40))
			r.request.Close()
		},
		"no capsule": func(r *raw) { r.request.Close() },
		"reset":      func(r *raw) { r.request.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled)) },
	}
	for name, end := range ends {
		world(t, func(t *testing.T, s *relaytest.Server) {
			healthy := dial(t, s)
			until[*wire.Welcome](healthy)
			turn := func() {
				r := dialRaw(t, s)
				r.hello()
				if n := s.Clients(); n != 2 {
					t.Fatalf("%s: %d sessions before", name, n)
				}
				end(r)
				time.Sleep(time.Second)
				if n := s.Clients(); n != 1 || r.conn.Context().Err() != nil {
					t.Fatalf("%s: %d sessions, the connection: %v", name, n, r.conn.Context().Err())
				}
				time.Sleep(4 * time.Second)
				if r.conn.Context().Err() == nil {
					t.Fatalf("%s: the connection is still there", name)
				}
			}
			turn()
			synctest.Wait()
			before, heap := runtime.NumGoroutine(), live()
			const n = 20
			for range n {
				turn()
				healthy.send(&wire.Pong{})
			}
			synctest.Wait()
			if after := runtime.NumGoroutine(); after > before+5 { // the runtime has some of its own
				t.Errorf("%s: %d goroutines, %d before", name, after, before)
			}
			if grown := live() - heap; grown > n*(64<<10) {
				t.Errorf("%s: %d bytes more after %d sessions", name, grown, n)
			}
			healthy.send(&wire.Sub{Ref: 1, Channel: "a.1"})
			if until[*wire.Subbed](healthy) == nil {
				t.Errorf("%s: the healthy client is gone", name)
			}
		})
	}
}

// A client opens no more streams than it is let, and those that it opens and
// closes stay bounded too.
func TestStreamsOfClientsAreBounded(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s)
		until[*wire.Welcome](p)
		opened := 0
		for ; opened < 1000; opened++ {
			out, err := p.session.OpenUniStream()
			if err != nil {
				break
			}
			fmt.Fprint(out, "who reads this?")
			out.Close()
		}
		two := 0
		for ; two < 1000; two++ {
			if _, err := p.session.OpenStream(); err != nil {
				break
			}
		}
		if opened > 8 || two > 8 {
			t.Errorf("%d and %d streams were let in", opened, two)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := p.session.OpenUniStreamSync(ctx); err == nil {
			t.Error("one more after a while")
		}
		p.send(&wire.Sub{Ref: 1, Channel: "a.1"})
		if until[*wire.Subbed](p) == nil {
			t.Error("the client harmed itself")
		}
	})
}

// Channels with a stream of their own are bounded. Those beyond come with the
// others, and are told so.
func TestChannelsWithAStreamAreBounded(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		var subs []wire.Sub
		for i := range 70 {
			subs = append(subs, wire.Sub{Ref: uint32(i + 1), Channel: fmt.Sprint("a.", i), Via: "stream"})
		}
		p := dial(t, s, subs[:66]...)
		for range 64 {
			if _, err := p.session.AcceptUniStream(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p.send(&subs[66])
		for _, sub := range subs[64:67] {
			if got := until[*wire.Subbed](p); got == nil || got.Channel != sub.Channel || got.Ref != sub.Ref || got.Via != "" {
				t.Errorf("%+v for %+v", got, sub)
			}
		}
		for _, sub := range subs[64:67] {
			publish(t, s, sub.Channel, 1)
			if m := until[*wire.Msg](p); m == nil || m.Channel != sub.Channel {
				t.Errorf("%s: %+v", sub.Channel, m)
			}
		}
		p.send(&wire.Unsub{Channel: "a.3"})
		synctest.Wait()
		p.send(&subs[67]) // there is room again
		if _, err := p.session.AcceptUniStream(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// The subscriptions of a connection are bounded over all its ways together.
func TestSubscriptionsAreBounded(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Limits.Subs = 6
	synctest.Test(t, func(t *testing.T) {
		s := relaytest.New(t, cfg)
		p := dial(t, s)
		vias := []string{"", "stream", "datagram"}
		for i := range 9 {
			p.send(&wire.Sub{Ref: uint32(i + 1), Channel: fmt.Sprint("a.", i), Via: vias[i%3]})
		}
		for i := range 3 {
			if e := until[*wire.Err](p); e == nil || e.Code != wire.CodeTooMany || e.Ref != uint32(7+i) {
				t.Errorf("%+v", e)
			}
		}
	})
}

// One client is one connection, however many ways it has, for operators and drains.
func TestOneClientIsOneConnection(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "a.0"}, wire.Sub{Channel: "a.1", Via: "datagram"})
		until[*wire.Subbed](p)
		until[*wire.Subbed](p)
		for i := range 20 {
			p.send(&wire.Sub{Ref: 1, Channel: fmt.Sprint("b.", i), Via: "stream"})
			own, err := p.session.AcceptUniStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			publish(t, s, fmt.Sprint("b.", i), 1)
			messages(t, own, func(f wire.Frame) bool { _, ok := f.(*wire.Msg); return !ok })
		}
		all := s.Connections()
		if len(all) != 1 || s.Clients() != 1 || len(all[0].Channels) != 22 || all[0].Sent != 20 || all[0].Transport != "wt" || all[0].Opened.IsZero() {
			t.Fatalf("%d clients: %+v", s.Clients(), all)
		}
		p.send(&wire.Unsub{Channel: "b.0"})
		synctest.Wait()
		if all = s.Connections(); len(all) != 1 || all[0].Sent != 20 {
			t.Errorf("what a way sent that is gone does not count: %+v", all)
		}
		if n := s.Disconnect(""); n != 1 {
			t.Errorf("%d connections of a user are closed", n)
		}
		time.Sleep(time.Second) // it has a moment to leave by itself
		if n := s.Clients(); n != 0 {
			t.Errorf("%d clients are left", n)
		}
	})
}

// Why a client is sent away stands on its control stream too, and on whichever way
// that shows: a browser may hear of a closed session nothing else. It is closed soon,
// unless the client leaves before.
func TestReasonOnTheControlStream(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		for _, leaves := range []bool{false, true} {
			p := dial(t, s, wire.Sub{Channel: "a.0", Via: "datagram"}, wire.Sub{Channel: "a.1", Via: "stream"})
			until[*wire.Subbed](p)
			if n := s.Disconnect(""); n != 1 {
				t.Fatalf("%d connections are closed", n)
			}
			told := until[*wire.Err](p)
			if told == nil || told.Code != wire.CodeRevoked || !told.Terminal || told.Ref != 0 || told.Channel != "" {
				t.Fatalf("it is told %+v", told)
			}
			if f := until[wire.Frame](p); f != nil {
				t.Errorf("and behind it %+v", f)
			}
			began := time.Now()
			if leaves {
				p.session.CloseWithError(1000, "")
				synctest.Wait()
				if n := s.Clients(); n != 0 {
					t.Errorf("%d clients are left", n)
				}
				continue
			}
			_, err := p.session.AcceptStream(t.Context())
			se, ok := errors.AsType[*webtransport.SessionError](err)
			if took := time.Since(began); !ok || !se.Remote || wire.CloseCode(se.ErrorCode) != wire.CloseRevoked || took > time.Second {
				t.Fatalf("after %v: %v", took, err)
			}
			time.Sleep(time.Second) // the relay has let go of it, too
		}
	})
}

// A node that takes no more sessions says so there as well.
func TestFullNodeSaysSo(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		go s.Drain(t.Context(), time.Second)
		synctest.Wait()
		p := dial(t, s)
		if told := until[*wire.Err](p); told == nil || told.Code != wire.CodeDraining || told.Terminal || told.Retry == 0 {
			t.Fatalf("it is told %+v", told)
		}
	})
}

// chatty lets nobody in, and explains it at length.
type chatty struct{ policy.Policy }

func (chatty) Connect(*policy.Client) *wire.Err {
	return &wire.Err{Code: wire.CodeDenied, Text: strings.Repeat("é", 500)}
}
func (chatty) Disconnect(*policy.Client, wire.CloseCode) {}

// A reason that is too long is cut where the protocol says, and is still one.
func TestLongReasonIsCut(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Policy = chatty{}
	synctest.Test(t, func(t *testing.T) {
		s := relaytest.New(t, cfg)
		p := dial(t, s)
		_, err := p.session.AcceptStream(t.Context())
		se, ok := errors.AsType[*webtransport.SessionError](err)
		if !ok || wire.CloseCode(se.ErrorCode) != wire.CloseForbidden {
			t.Fatal(err)
		}
		why, ok := wire.ParseReason(se.Message)
		if !ok || why.Code != wire.CodeDenied || len(se.Message) > 123 || len(se.Message) < 100 || !utf8.ValidString(why.Text) {
			t.Errorf("%d bytes: %s", len(se.Message), se.Message)
		}
	})
}
