package chappe

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// parsed encodes a verdict and reads it as a host does.
func parsed(t *testing.T, v Verdict, h abi.Hook, readers int) (*abi.Result, error) {
	t.Helper()
	out := bytes.Repeat([]byte{0xa5}, abi.OutBatch)
	r := new(abi.Result)
	return r, r.Parse(v.encode(out), out, h, readers)
}

func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		v    Verdict
		h    abi.Hook
		kind abi.Verdict
	}{
		"allow":            {Allow, abi.Connect, abi.Allow},
		"drop":             {Drop, abi.Publish, abi.Drop},
		"deny":             {Deny(429, "x"), abi.Connect, abi.Deny},
		"replace":          {Replace([]byte("x")), abi.Publish, abi.Replace},
		"replace nothing":  {Replace(nil), abi.Publish, abi.Replace},
		"match":            {Allow.Match(Match{Any: 1}), abi.Publish, abi.Matched},
		"fan-out":          {Allow.FanOut("a", nil), abi.Publish, abi.FanOut},
		"reroute":          {Drop.FanOut("a", nil), abi.Publish, abi.Drop},
		"replace, fan-out": {Replace([]byte("x")).FanOut("a", nil), abi.Publish, abi.Replace},
		"tags":             {Allow.Tag(Tags{Bits: 1, Ext: []byte("x")}), abi.Subscribe, abi.Allow},
		"deny with tags":   {Deny(0, "").Tag(Tags{}), abi.Subscribe, abi.Deny},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parsed(t, c.v, c.h, 0)
			if err != nil || r.Verdict != c.kind || r.Log {
				t.Errorf("%v: %s", err, r.Verdict)
			}
			if r, err := parsed(t, c.v.Log(), c.h, 0); err != nil || !r.Log {
				t.Errorf("with log: %v", err)
			}
		})
	}
}

func TestVerdictsThatFail(t *testing.T) {
	for name, v := range map[string]Verdict{
		"zero":                  {},
		"fail":                  Fail("broken"),
		"payload":               Replace(make([]byte, abi.OutBuffer+1)),
		"payload with fan-outs": Replace(make([]byte, abi.OutBuffer)).FanOut("a", nil),
		"fan-out":               Allow.FanOut("a", make([]byte, abi.OutBuffer)),
	} {
		r, err := parsed(t, v, abi.Publish, 0)
		if err != abi.FaultGuest {
			t.Errorf("%s: %v", name, err)
		}
		if name != "zero" && len(r.Reason) == 0 {
			t.Errorf("%s: no text for the log", name)
		}
	}
}

func TestReasonIsCut(t *testing.T) {
	for _, reason := range []string{
		strings.Repeat("x", 300), strings.Repeat("ä", 300), "x" + strings.Repeat("ä", 300), strings.Repeat("😀", 100), "xy" + strings.Repeat("😀", 100), "\xff", strings.Repeat("\xff", 400), strings.Repeat("\x80", 400),
	} {
		r, err := parsed(t, Deny(0, reason), abi.Publish, 0)
		if err != nil || !utf8.Valid(r.Reason) || len(r.Reason) == 0 {
			t.Errorf("%.10q: %v, %q", reason, err, r.Reason)
		}
		if utf8.ValidString(reason) && (len(r.Reason) < abi.MaxReason-3 || !strings.HasPrefix(reason, string(r.Reason))) {
			t.Errorf("%.10q is cut to %d bytes", reason, len(r.Reason))
		}
	}
}

// What one call answers must not show in the next.
func TestServeLeavesNothing(t *testing.T) {
	in, out := Buffers(abi.InBuffer, abi.OutBatch)
	verdicts := []Verdict{
		Deny(403, "no"), Allow, Replace([]byte("new")).Match(Match{All: 7}).FanOut("a", []byte("b")), Drop, Deny(0, ""), Replace(nil), Allow.Log(), Allow,
	}
	i := 0
	Register(abi.Publish, func(*Event) Verdict { return verdicts[i] })
	defer Register(abi.Publish, nil)
	for round := range 3 {
		for i = range verdicts {
			n, err := (&abi.Event{Channel: "c"}).Encode(in, abi.Publish)
			if err != nil {
				t.Fatal(err)
			}
			var r abi.Result
			if err := r.Parse(Serve(abi.Publish, uint32(n)), out, abi.Publish, 0); err != nil {
				t.Fatalf("round %d, verdict %d: %v", round, i, err)
			}
			v := &verdicts[i]
			wantCode := v.code
			if v.kind == abi.Deny && wantCode == 0 {
				wantCode = 403
			}
			if r.Code != wantCode || string(r.Reason) != v.reason || !bytes.Equal(r.Payload, v.payload) || r.Log != v.log || len(r.Fan) != len(v.fan) || r.Matches != v.matches {
				t.Errorf("round %d, verdict %d: %+v", round, i, r)
			}
		}
	}
}

func TestServeRefusesFrames(t *testing.T) {
	in, out := Buffers(abi.InBuffer, abi.OutBuffer)
	Register(abi.Publish, func(*Event) Verdict { t.Error("called"); return Allow })
	defer Register(abi.Publish, nil)
	n, _ := (&abi.Event{Channel: "c"}).Encode(in, abi.Connect)
	for what, n := range map[string]int{"of another hook": n, "cut short": n - 1, "empty": 0} {
		var r abi.Result
		if err := r.Parse(Serve(abi.Publish, uint32(n)), out, abi.Publish, 0); err != abi.FaultGuest {
			t.Errorf("a frame %s: %v", what, err)
		}
	}
}

func TestFilter(t *testing.T) {
	buf := make([]byte, abi.InBuffer)
	for _, n := range []int{1, 7, 8, 9, 1024, 3} {
		var rs abi.Readers
		rs.Reset(buf, n, 100)
		for i := range n {
			rs.Add(uint64(i), uint32(i%3), 0, uint64(i), []byte{byte(i)})
		}
		size, err := rs.Encode(&abi.Event{Channel: "c"})
		if err != nil {
			t.Fatal(err)
		}
		e := Event{abi.Frame(buf[:size])}
		i := 0
		v := e.Filter(func(r *Reader) bool {
			if r.Bits != uint64(i) || r.User != uint64(i) || r.Ext[0] != byte(i) {
				t.Fatalf("reader %d: %+v", i, r)
			}
			i++
			return r.Level == 1
		})
		r, err := parsed(t, v, abi.Deliver, n)
		if err != nil || i != n {
			t.Fatalf("%d readers: %v, %d asked", n, err, i)
		}
		for i := range 8 * len(r.Bitmap) {
			if got, want := r.Bitmap[i/8]>>(i%8)&1 == 1, i < n && i%3 == 1; got != want {
				t.Errorf("%d readers: bit %d is %v", n, i, got)
			}
		}
	}
	var none Event
	none.f = abi.AppendFrame(nil, abi.Publish, &abi.Event{})
	if none.Readers() != 0 {
		t.Error("a message has readers")
	}
}

func TestIntern(t *testing.T) {
	defer clear(names)
	for i := range 5 * maxNames {
		b := []byte{byte(i), byte(i >> 8), 'x'}
		s := intern(b)
		if s != string(b) {
			t.Fatalf("%q for %q", s, b)
		}
		b[2] = 'y'
		if s[2] != 'x' {
			t.Fatal("a view of the frame")
		}
	}
	if len(names) > maxNames {
		t.Errorf("%d names are kept", len(names))
	}
	b := []byte("rides.42")
	intern(b)
	if n := testing.AllocsPerRun(10, func() { intern(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
