package history

import (
	"math/rand/v2"
	"testing"

	"github.com/chappe-relay/chappe/relay/log"
)

func itemsOf(numbers ...uint64) (out []item) {
	for _, n := range numbers {
		out = append(out, item{message: &log.Message{SSeq: n}})
	}
	return out
}

// Whatever is written, in whatever order and however often, dropped, expired or lost:
// the index says of every number whether it is there, and finds it.
func TestLaneIsWhatIsOnTheDisk(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		var x laneState
		at := make(map[uint64]map[uint64]bool) // sequence of the stream: numbers there
		seq := uint64(0)
		for range 80 {
			switch r.IntN(10) {
			case 0: // expired
				to := r.Uint64N(seq + 2)
				x.trim(to)
				for s := range at {
					if s < to {
						delete(at, s)
					}
				}
				// A run of which the beginning has expired may claim it, until it is read.
				for n := range uint64(130) {
					if x.has(n) && !anywhere(at, n) {
						x.remove(n, n)
					}
				}
			case 1: // not found
				a := 1 + r.Uint64N(100)
				b := a + r.Uint64N(5)
				x.remove(a, b)
				for _, there := range at {
					for n := a; n <= b; n++ {
						delete(there, n)
					}
				}
			default: // a batch with holes
				seq++
				there := make(map[uint64]bool)
				var numbers []uint64
				for n := 1 + r.Uint64N(100); len(numbers) < 1+r.IntN(6); n += 1 + r.Uint64N(2) {
					numbers = append(numbers, n)
					there[n] = !x.has(n) // one that is there twice is found where it was first
				}
				x.note(itemsOf(numbers...), seq)
				at[seq] = there
			}
			for i, one := range x.runs {
				if one.first > one.last || one.seq > one.until || i > 0 && x.runs[i-1].last >= one.first {
					t.Fatalf("seed %d: %+v", seed, x.runs)
				}
			}
			for n := uint64(1); n < 130; n++ {
				if x.has(n) != anywhere(at, n) {
					t.Fatalf("seed %d: has(%d) is %v: %+v", seed, n, x.has(n), x.runs)
				}
			}
			if all := x.within(1, 130); !ordered(all) || uint64(len(x.runs)) > 0 && len(all) == 0 {
				t.Fatalf("seed %d: within: %v", seed, all)
			}
		}
		for _, one := range x.runs { // a run finds what it says
			for n := one.first; n <= one.last; n++ {
				found := false
				for s, there := range at {
					found = found || s >= one.seq && s <= one.until && there[n]
				}
				if !found {
					t.Fatalf("seed %d: %d is not in %+v", seed, n, one)
				}
			}
		}
	}
}

func anywhere(at map[uint64]map[uint64]bool, n uint64) bool {
	for _, there := range at {
		if there[n] {
			return true
		}
	}
	return false
}

// What becomes of a number is known from the moment it is given.
func TestFate(t *testing.T) {
	var x laneState
	x.note(itemsOf(1, 2, 3), 1)
	x.queued = 10
	x.drop(6, 7)
	want := map[uint64]fate{2: kept, 4: coming, 6: gone, 7: gone, 8: coming, 11: coming}
	for n, f := range want {
		if x.fate(n) != f {
			t.Errorf("%d: %d, not %d", n, x.fate(n), f)
		}
	}
	if !x.comes(4, 6) || x.comes(6, 7) || x.comes(1, 3) || !x.comes(7, 8) {
		t.Error("what comes is not what is on its way")
	}
	x.note(itemsOf(4, 5, 8, 9, 10), 2)
	if x.fate(6) != gone || x.fate(8) != kept || len(x.dropped) != 0 {
		t.Errorf("after the write: %+v", x)
	}
	x.again.add(6, 6)
	if x.fate(6) != coming || !x.comes(5, 9) || x.fate(7) != gone {
		t.Error("one that is saved again is not on its way")
	}
	x.note(itemsOf(6), 3)
	if x.fate(6) != kept || x.comes(5, 9) {
		t.Error("one that was saved again is not there")
	}
}

// A quiet channel writes a batch for each message: the index must not grow with them.
func TestIndexOfSmallBatches(t *testing.T) {
	var x laneState
	const n = 20_000
	for i := uint64(1); i <= n; i++ {
		x.note(itemsOf(i), 3*i)
	}
	if most := n/runBatches + 1; len(x.runs) > most {
		t.Errorf("%d entries for %d batches", len(x.runs), n)
	}
	x.trim(3 * n / 2)
	if x.has(1) || !x.has(n) || cap(x.runs) > 4*len(x.runs) {
		t.Errorf("after half has expired: %d entries, room for %d", len(x.runs), cap(x.runs))
	}
}
