package session

import (
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// All clients of a lost region come at once and come back when told: none is told
// to wait much longer than letting in those before it takes.
func TestAdmissionIsAQueueThatHoldsNobody(t *testing.T) {
	const rate, clients = 2000, 10_000
	a := newAdmission(rate)
	now := time.Unix(1e9, 0)
	come := map[time.Duration]int{0: clients}
	in, tries := 0, 0
	var last time.Duration
	for at := time.Duration(0); at < 20*time.Second; at += time.Millisecond {
		for range come[at] {
			tries++
			if wait := a.take(now.Add(at)); wait > 0 {
				come[at+wait.Truncate(time.Millisecond)+time.Millisecond]++
			} else {
				in++
				last = at
			}
		}
		if most := rate + int((at+time.Millisecond).Seconds()*rate) + 1; in > most {
			t.Fatalf("%d let in after %s", in, at)
		}
	}
	if in != clients || last > clients/rate*time.Second {
		t.Errorf("%d are in, the last after %s", in, last)
	}
	if tries > 3*clients {
		t.Errorf("%d tries for %d clients", tries, clients)
	}
}

// Who comes alone waits for nobody, also long after a storm; and nobody is told to
// wait for ever.
func TestAdmissionForgets(t *testing.T) {
	a := newAdmission(10)
	now := time.Unix(1e9, 0)
	for range 10_000 {
		if wait := a.take(now); wait > longest {
			t.Fatal(wait)
		}
	}
	now = now.Add(10 * time.Second)
	if wait := a.take(now); wait != 0 {
		t.Errorf("told to wait %s", wait)
	}
	free := newAdmission(0)
	for range 10_000 {
		if free.take(now) != 0 {
			t.Fatal("bounded")
		}
	}
}

// A node that lets in no more says when to come, and counts it; polls, each of
// which is a session of a moment, are not held to it.
func TestTooManyAtOnceAreRefused(t *testing.T) {
	g := newStage(t, nil)
	limits := DefaultLimits
	limits.Admission = 2
	seen := &refusals{}
	h := NewHost(Config{Node: g.node, Authority: g, Limits: limits, Now: func() time.Time { return g.now }, Observer: seen})
	open := func(f Form) *wire.CloseError {
		_, ce := h.Open(Params{Form: f, Transport: "x", Link: &peer{g: g}})
		return ce
	}
	for range 2 {
		if ce := open(FormBinary); ce != nil {
			t.Fatal(ce)
		}
	}
	for i := range int64(3) {
		ce := open(FormJSON)
		if ce == nil || ce.Code != wire.CodeOverloaded || ce.Close != wire.CloseOverloaded || ce.Retry != 500*(i+1)+1 {
			t.Fatalf("%+v", ce)
		}
	}
	if ce := open(FormPoll); ce != nil {
		t.Error(ce)
	}
	if seen.n != 3 || len(h.Sessions()) != 3 {
		t.Errorf("%d refusals counted, %d sessions", seen.n, len(h.Sessions()))
	}
}

type refusals struct {
	nobody
	n int
}

func (r *refusals) Refused(_ string, code wire.Code) {
	if code == wire.CodeOverloaded {
		r.n++
	}
}

// A session takes room by what it costs in memory, and a socket of its own or none:
// what is full for one kind has room for another. All of it comes back.
func TestRoomIsCountedByCost(t *testing.T) {
	g := newStage(t, nil)
	limits := DefaultLimits
	limits.Sessions, limits.Sockets = 44, 3
	h := NewHost(Config{Node: g.node, Authority: g, Limits: limits, Now: func() time.Time { return g.now }})
	open := func(cost int, shared, wanted bool) *Session {
		t.Helper()
		s, ce := h.Open(Params{Form: FormBinary, Transport: "x", Link: &peer{g: g}, Cost: cost, NoSocket: shared})
		if (ce == nil) != wanted || ce != nil && ce.Code != wire.CodeOverloaded {
			t.Fatalf("cost %d: %v; let in: %v is wanted", cost, ce, wanted)
		}
		return s
	}
	large := open(20, true, true)
	open(20, true, true)
	open(20, true, false)
	for range 3 {
		open(1, false, true)
	}
	open(1, false, false) // no socket, though there is memory
	if h.Full() != 1 {
		t.Errorf("full: %v", h.Full())
	}
	last := open(1, true, true)
	last.End(nil)
	large.End(nil)
	if want := 1.0; h.Full() != want { // of its sockets
		t.Errorf("full: %v", h.Full())
	}
	open(20, true, true).End(nil)

	// A connection without a session takes room as well, of what there is now.
	limits.Sessions = 30
	h.Configure(limits)
	if _, ok := h.Reserve("x", 20); ok {
		t.Error("a connection has found room where limits were lowered")
	}
	limits.Sessions = 44
	h.Configure(limits)
	release, ok := h.Reserve("x", 20)
	if !ok {
		t.Fatal("a connection has found no room where limits were raised")
	}
	open(20, true, false)
	release()
	open(20, true, true)
}
