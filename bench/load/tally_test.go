package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestPayload(t *testing.T) {
	for _, size := range []int{Minimum, 128, 16 << 10} {
		p := AppendPayload([]byte("before"), 1234567890123456789, 0xfedcba98, size)[6:]
		seq, ok := Sequence(p)
		if len(p) != size || !ok || seq != 0xfedcba98 || Due(p) != 1234567890123456789 {
			t.Errorf("size %d: %d bytes, seq %x %t, due %d", size, len(p), seq, ok, Due(p))
		}
	}
	for _, bad := range [][]byte{nil, []byte("~"), make([]byte, 128)} {
		if _, ok := Sequence(bad); ok {
			t.Errorf("%q is taken for a payload", bad)
		}
	}
}

func TestTally(t *testing.T) {
	for name, c := range map[string]struct {
		seqs    []uint32
		last    uint32
		want    Tally
		missing uint64
	}{
		"all":      {[]uint32{1, 2, 3}, 3, Tally{Next: 4, Got: 3}, 0},
		"head":     {[]uint32{3, 4}, 4, Tally{Next: 5, Got: 2, Lost: 2}, 2},
		"hole":     {[]uint32{1, 2, 5}, 5, Tally{Next: 6, Got: 3, Lost: 2}, 2},
		"tail":     {[]uint32{1, 2}, 7, Tally{Next: 3, Got: 2}, 5},
		"repeat":   {[]uint32{1, 2, 2, 1, 3}, 3, Tally{Next: 4, Got: 3, Repeated: 2}, 0},
		"nothing":  {nil, 2, Tally{Next: 1}, 2},
		"reversed": {[]uint32{2, 1}, 2, Tally{Next: 3, Got: 1, Lost: 1, Repeated: 1}, 1},
	} {
		tally := Tally{Next: 1}
		for _, seq := range c.seqs {
			tally.message(seq)
		}
		if tally != c.want || tally.Missing(c.last) != c.missing {
			t.Errorf("%s: %+v, missing %d; want %+v, %d", name, tally, tally.Missing(c.last), c.want, c.missing)
		}
	}
}

// The histogram's quantiles are those of the sorted list, to its three digits.
func TestLatency(t *testing.T) {
	l := NewLatency()
	r := rand.New(rand.NewPCG(1, 2))
	var all []float64
	for range 20_000 {
		d := time.Duration(math.Exp(r.Float64()*12)) * time.Microsecond // 1 us to 160 ms
		l.Record(d)
		all = append(all, float64(d.Microseconds())/1000)
	}
	slices.Sort(all)
	for _, q := range []float64{50, 99, 99.9, 100} {
		want := all[int(math.Ceil(q/100*float64(len(all))))-1]
		if got := l.Quantile(q); math.Abs(got-want) > 0.002*want+0.001 {
			t.Errorf("p%v is %v ms, want %v", q, got, want)
		}
	}
	if l.Count() != int64(len(all)) {
		t.Errorf("%d recorded, want %d", l.Count(), len(all))
	}
	l.Reset()
	l.Record(-time.Second)
	l.Record(time.Hour)
	if l.Count() != 2 || l.Quantile(1) != 0.001 || math.Abs(l.Max()-60_000) > 60 {
		t.Errorf("%d recorded, least %v, most %v ms; want 2, 0.001, 60000", l.Count(), l.Quantile(1), l.Max())
	}
}

func TestWindow(t *testing.T) {
	w := NewWindow()
	w.record(5, 6)
	if w.Latency.Count() != 0 {
		t.Error("a window that was not opened records")
	}
	w.From, w.To = 10, 20
	for _, due := range []int64{9, 10, 19, 20} {
		w.record(due, due+1000)
	}
	if n := w.Latency.Count(); n != 2 {
		t.Errorf("%d recorded, want those due at 10 and 19", n)
	}
}
