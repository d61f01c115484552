package position

import (
	"testing"

	"pgregory.net/rapid"
)

func anyPosition(t *rapid.T) Position {
	var p Position
	tick := rapid.OneOf(rapid.Uint64Range(0, 1<<52), rapid.Just(End))
	for range rapid.IntRange(0, 6).Draw(t, "bases") {
		p.Raise(Origin(rapid.Uint64().Draw(t, "origin")), tick.Draw(t, "tick"))
	}
	if len(p.bases) > 0 && rapid.Bool().Draw(t, "counted") {
		p.Count(p.bases[0].Origin, rapid.Uint64().Draw(t, "seq"))
	}
	for range rapid.IntRange(0, 6).Draw(t, "leads") {
		o := Origin(rapid.Uint64().Draw(t, "origin"))
		if len(p.bases) > 0 && rapid.Bool().Draw(t, "known") {
			o = p.bases[rapid.IntRange(0, len(p.bases)-1).Draw(t, "i")].Origin
		}
		p.Advance(o, rapid.Byte().Draw(t, "shard"), tick.Draw(t, "tick"))
	}
	return p
}

func TestCursorRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPosition(t)
		q, err := Parse(p.Cursor())
		if err != nil {
			t.Fatalf("parse of %+v: %v", p, err)
		}
		for _, b := range p.bases {
			if got, ok := q.Base(b.Origin); !ok || got != b.Tick {
				t.Fatalf("base of %v: %d, want %d", b.Origin, got, b.Tick)
			}
		}
		for _, l := range p.leads {
			if got, want := q.Done(l.Origin, l.Shard, nil), p.Done(l.Origin, l.Shard, nil); got != want && want != p.Newest() {
				t.Fatalf("lead %+v: done %d, want %d", l, got, want)
			}
		}
		if q.Cursor() != p.Cursor() {
			t.Fatalf("second cursor differs: %s, %s", q.Cursor(), p.Cursor())
		}
	})
}

func TestMergeOnlyGrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := anyPosition(t), anyPosition(t)
		m := p.Clone()
		m.Merge(&q)
		for _, of := range []Position{p, q} {
			for _, b := range of.bases {
				if got, _ := m.Base(b.Origin); got < b.Tick {
					t.Fatalf("base of %v fell to %d from %d", b.Origin, got, b.Tick)
				}
			}
			for _, l := range of.leads {
				if got := m.Done(l.Origin, l.Shard, nil); got < l.Tick {
					t.Fatalf("lead %+v fell to %d", l, got)
				}
			}
		}
		for _, l := range m.leads {
			if b, ok := m.Base(l.Origin); ok && l.Tick <= b {
				t.Fatalf("lead %+v is not beyond its base %d", l, b)
			}
		}
	})
}

func TestUnnamedOriginIsDoneUpToHistory(t *testing.T) {
	var p Position
	p.Raise(1, 10_000_000)
	p.Raise(2, End) // no time: must not make everybody done
	history := func(newest uint64) uint64 { return newest - 2_000_000 }
	if got := p.Done(3, 0, history); got != 8_000_000 {
		t.Errorf("unnamed: done %d, want 8000000", got)
	}
	if got := p.Done(3, 0, nil); got != 0 {
		t.Errorf("unnamed, nothing known of history: done %d, want 0", got)
	}
	if got := p.Done(1, 0, history); got != 10_000_000 {
		t.Errorf("named: done %d, want 10000000", got)
	}
	if got := p.Done(2, 9, history); got != End {
		t.Errorf("ended: done %d, want End", got)
	}
}

func TestEveryDamagedCursorIsRefused(t *testing.T) {
	var p Position
	p.Raise(0x1234567890abcdef, 1_763_921_000_123_456)
	p.Advance(0x1234567890abcdef, 7, 1_763_921_000_123_999)
	c := p.Cursor()
	for i := range c {
		for _, with := range []byte("Aa0_") {
			bad := []byte(c)
			if bad[i] == with {
				continue
			}
			bad[i] = with
			if q, err := Parse(string(bad)); err == nil {
				t.Errorf("byte %d as %q: taken for %+v", i, with, q)
			}
		}
		if _, err := Parse(c[:i]); err == nil {
			t.Errorf("cut after %d bytes: taken", i)
		}
	}
	t.Logf("one origin, one lead: %d characters", len(c))
}

func FuzzParse(f *testing.F) {
	var p Position
	f.Add(p.Cursor())
	p.Raise(1, 5)
	p.Advance(2, 3, 9)
	f.Add(p.Cursor())
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			return
		}
		q, err := Parse(p.Cursor())
		if err != nil || q.Cursor() != p.Cursor() {
			t.Fatalf("%q: second round differs: %v", s, err)
		}
	})
}

func TestStampText(t *testing.T) {
	s := Stamp{Origin: 0xfedcba9876543210, Tick: 1_763_921_000_123_456, Seq: 42}
	got, err := ParseStamp(s.String())
	if err != nil || got != s {
		t.Fatalf("%s: %+v, %v", s, got, err)
	}
	for _, bad := range []string{"", ".", "..", "a.1.2", s.String() + ".1", s.String()[1:], "_ty6mHZUMhA.-1.2", "_ty6mHZUMhA.1."} {
		if _, err := ParseStamp(bad); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}

func TestTrackerDropsRepeatsAndKeepsPlaces(t *testing.T) {
	tr := NewTracker()
	var begin Position
	begin.Raise(1, 100)
	if err := tr.Subscribed("a.b", begin.Cursor()); err != nil {
		t.Fatal(err)
	}
	if err := tr.Subscribed(">", begin.Cursor()); err != nil {
		t.Fatal(err)
	}
	if tr.Message("a.b", "a.b", Stamp{Origin: 1, Tick: 100}) {
		t.Error("a message the cursor covers was fresh")
	}
	if !tr.Message("a.b", "a.b", Stamp{Origin: 1, Tick: 101}) || tr.Message("a.b", "a.b", Stamp{Origin: 1, Tick: 101}) {
		t.Error("a message must be fresh exactly once")
	}
	// A wide pattern spans shards: a late message of another shard is fresh.
	if !tr.Message(">", "x.y", Stamp{Origin: 1, Tick: 200}) || !tr.Message(">", "a.b", Stamp{Origin: 1, Tick: 150}) {
		t.Error("shards of a wide pattern must move apart")
	}
	var base Position
	base.Raise(1, 180)
	if err := tr.Progress(base.Cursor()); err != nil {
		t.Fatal(err)
	}
	p, err := Parse(tr.Cursor(">"))
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := p.Base(1); b != 180 || len(p.Leads()) != 1 {
		t.Errorf("after progress: %+v", p)
	}
	base.Raise(1, End)
	if err := tr.Progress(base.Cursor()); err != nil {
		t.Fatal(err)
	}
	if p, _ = Parse(tr.Cursor("a.b")); p.Done(1, 0, nil) != End {
		t.Errorf("after the origin's end: %+v", p)
	}
}

// What no node has named for an hour is dropped, whether it has ended or was known to
// nobody: a cursor does not grow with every restart.
func TestTrackerForgets(t *testing.T) {
	tr := NewTracker()
	var begin Position
	begin.Raise(1, 100)
	begin.Raise(2, 101)
	begin.Raise(3, End)
	for _, sub := range []string{"a.b", "a.c"} {
		if err := tr.Subscribed(sub, begin.Cursor()); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		tick uint64
		want int
	}{{1000, 3}, {forgotten + 1000, 3}, {forgotten + 1002, 1}, {2 * forgotten, 1}} {
		var p Position
		p.Raise(1, step.tick)
		if err := tr.Progress(p.Cursor()); err != nil {
			t.Fatal(err)
		}
		for _, sub := range []string{"a.b", "a.c"} {
			if q, _ := Parse(tr.Cursor(sub)); len(q.Bases()) != step.want {
				t.Errorf("%s at %d: %+v", sub, step.tick, q.Bases())
			}
		}
	}
	if len(tr.named) != 1 {
		t.Errorf("%d are remembered", len(tr.named))
	}
}
