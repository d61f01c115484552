package wt_test

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// lossy is a relay with a namespace whose channels come by datagram.
func lossy(t *testing.T, run func(t *testing.T, s *relaytest.Server)) {
	cfg := relaytest.Open()
	cfg.Namespaces["gps"] = namespace.Options{Lossy: true, Anonymous: identity.All}
	synctest.Test(t, func(t *testing.T) { run(t, relaytest.New(t, cfg)) })
}

// datagram reads the one frame of a datagram.
func (p *peer) datagram() wire.Frame {
	p.t.Helper()
	b, err := p.session.ReceiveDatagram(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	fs, err := wire.DecodeBinary(b, wire.FromServer)
	if err != nil || len(fs) != 1 {
		p.t.Fatalf("%d frames, %v", len(fs), err)
	}
	return fs[0]
}

// Messages come by datagram where the client asks for it, and in a lossy namespace
// where it asks for nothing else. Answers come on the control stream.
func TestChannelsOverDatagrams(t *testing.T) {
	lossy(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "gps.1"}, wire.Sub{Channel: "a.1", Via: "datagram"})
		for _, name := range []string{"gps.1", "a.1"} {
			if got := until[*wire.Subbed](p); got.Channel != name || got.Via != "datagram" {
				t.Fatalf("%+v instead of %s", got, name)
			}
		}
		p.send(&wire.Sub{Ref: 1, Channel: "gps.2"})
		if got := until[*wire.Subbed](p); got.Ref != 1 || got.Via != "datagram" {
			t.Fatalf("%+v", got)
		}
		p.send(&wire.Sub{Ref: 2, Channel: "gps.3", Via: "stream"})
		own, err := p.session.AcceptUniStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		messages(t, own, func(f wire.Frame) bool {
			got, ok := f.(*wire.Subbed)
			if !ok || got.Via != "stream" {
				t.Errorf("%+v", f)
			}
			return false
		})
		for _, name := range []string{"gps.1", "gps.2", "a.1"} {
			for i := range 5 {
				publish(t, s, name, 1)
				m, ok := p.datagram().(*wire.Msg)
				if !ok || m.Channel != name || m.Stamp.Seq != uint64(i+1) {
					t.Fatalf("message %d: %+v", i, m)
				}
			}
		}
		for _, again := range []wire.Sub{{Ref: 3, Channel: "gps.1"}, {Ref: 4, Channel: "a.1"}, {Ref: 5, Channel: "gps.2", Via: "stream"}} {
			p.send(&again)
			if e := until[*wire.Err](p); e.Ref != again.Ref || e.Code != wire.CodeSubscribed {
				t.Errorf("%+v: %+v", again, e)
			}
		}
		p.send(&wire.Unsub{Ref: 6, Channel: "gps.1"})
		if got := until[*wire.Unsubbed](p); got.Ref != 6 || got.Channel != "gps.1" {
			t.Errorf("%+v", got)
		}
	})
}

// What no datagram can hold comes on the control stream.
func TestLargeMessageOfALossyChannel(t *testing.T) {
	lossy(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "gps.1"})
		until[*wire.Subbed](p)
		large := bytes.Repeat([]byte("x"), 5000)
		if _, _, err := s.Publish("gps.1", relay.Message{Data: large}); err != nil {
			t.Fatal(err)
		}
		if m := until[*wire.Msg](p); m == nil || !bytes.Equal(m.Data, large) {
			t.Fatalf("%+v", m)
		}
		publish(t, s, "gps.1", 1)
		if m, ok := p.datagram().(*wire.Msg); !ok || m.Stamp.Seq != 2 {
			t.Errorf("%+v", m)
		}
	})
}

// The stamps of a lossy channel are those of any other: a reader that gets the
// rest sees what the network lost, and how much.
func TestLossShowsInStamps(t *testing.T) {
	lossy(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s, wire.Sub{Channel: "gps.1"})
		until[*wire.Subbed](p)
		sure := dial(t, s, wire.Sub{Channel: "gps.1", Via: "stream"})
		own, err := sure.session.AcceptUniStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const n = 300 // more than any queue holds for a client that does not read
		publish(t, s, "gps.1", n)
		synctest.Wait()
		got := 1
		if m, ok := p.datagram().(*wire.Msg); !ok || m.Stamp.Seq != 1 { // and now there is room for one more
			t.Fatalf("%+v", m)
		}
		synctest.Wait()
		publish(t, s, "gps.1", 1)
		var all []wire.Msg
		messages(t, own, func(f wire.Frame) bool {
			if m, ok := f.(*wire.Msg); ok {
				all = append(all, *m)
			}
			return len(all) < n+1
		})
		last, missed := uint64(1), uint64(0)
		for last < n+1 {
			m, ok := p.datagram().(*wire.Msg)
			if !ok || m.Stamp != all[m.Stamp.Seq-1].Stamp || string(m.Data) != string(all[m.Stamp.Seq-1].Data) {
				t.Fatalf("%+v", m)
			}
			missed += m.Stamp.Seq - last - 1
			got, last = got+1, m.Stamp.Seq
		}
		if missed == 0 || uint64(got)+missed != n+1 {
			t.Errorf("%d came, %d are shown as lost, of %d", got, missed, n+1)
		}
	})
}

// More lossy channels than there may be streams: they share one line.
func TestManyLossyChannels(t *testing.T) {
	lossy(t, func(t *testing.T, s *relaytest.Server) {
		p := dial(t, s)
		for i := range 500 {
			p.send(&wire.Sub{Channel: fmt.Sprintf("gps.%d", i)})
			if got := until[*wire.Subbed](p); got == nil || got.Via != "datagram" {
				t.Fatalf("%d: %+v", i, got)
			}
		}
		publish(t, s, "gps.499", 1)
		if m, ok := p.datagram().(*wire.Msg); !ok || m.Channel != "gps.499" {
			t.Errorf("%+v", m)
		}
	})
}
