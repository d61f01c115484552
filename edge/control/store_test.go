package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

func TestChangeReachesAll(t *testing.T) {
	w := newWorld(t, 3, 1)
	w.run(time.Second)
	w.nodes[0].put("binding", "rides.>", "v1")
	w.run(200 * time.Millisecond)
	for _, p := range w.nodes {
		if got := p.get("binding", "rides.>"); got != `"v1"` {
			t.Errorf("%s has %q", p.name(), got)
		}
		if len(p.told) != 1 {
			t.Errorf("%s was told %d times", p.name(), len(p.told))
		}
	}
	w.nodes[2].put("binding", "rides.>", "v2")
	w.run(200 * time.Millisecond)
	if r, _ := w.nodes[0].store.Get("binding", "rides.>"); string(r.Value) != `"v2"` || r.Version != 2 || r.Writer != "r.n2" {
		t.Errorf("%+v", r)
	}
}

// Two write while they are apart: both nodes come to the same.
func TestPartition(t *testing.T) {
	w := newWorld(t, 2, 2)
	a, b := w.nodes[0], w.nodes[1]
	var all []*Record
	for i := range 1000 {
		all = append(all, &Record{Kind: "binding", Key: fmt.Sprint("k", i), Version: 1, Writer: "r.n0"})
	}
	a.store.takeLocked(all, "r", w.now)
	w.run(3 * time.Second)
	w.split(0, 1, true)
	a.put("binding", "k1", "of a")
	b.put("binding", "k1", "of b")
	b.put("binding", "k2", "of b")
	b.put("binding", "k2", "of b again")
	a.put("binding", "k2", "of a")
	a.put("binding", "new", "of a")
	w.run(10 * time.Second)
	w.bytes = 0
	w.split(0, 1, false)
	w.run(3 * time.Second)
	for _, p := range w.nodes {
		if x, y, z := p.get("binding", "k1"), p.get("binding", "k2"), p.get("binding", "new"); x != `"of b"` || y != `"of b again"` || z != `"of a"` {
			t.Errorf("%s has %s %s %s", p.name(), x, y, z)
		}
	}
	if w.bytes > 20_000 {
		t.Errorf("%d bytes crossed for three records of 1,001", w.bytes)
	}
}

// Random writes, partitions, losses, deaths, restarts and damage; then all agree,
// and nothing that was acknowledged by a node with a whole disk is lost.
func TestConvergence(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, 2+int(seed%3), seed)
			w.loss = float64(seed%4) * 0.1
			newest := make(map[string]Record)
			for n := range 60 {
				p := w.nodes[w.r.IntN(len(w.nodes))]
				switch k := w.r.IntN(20); {
				case p.dead:
					p.start()
				case k < 10:
					r, err := p.store.Put([]string{"binding", "artifact"}[w.r.IntN(2)], fmt.Sprint("k", w.r.IntN(20)), n, time.Time{})
					if err != nil {
						t.Fatal(err)
					}
					if old, ok := newest[r.Kind+r.Key]; !ok || r.Newer(&old) {
						newest[r.Kind+r.Key] = r
					}
				case k < 12:
					if _, err := p.store.Add("revocation", fmt.Sprint("u", n), nil, w.now.Add(time.Duration(5+w.r.IntN(2)*3600)*time.Second)); err != nil {
						t.Fatal(err)
					}
				case k < 14:
					w.split(p.i, w.r.IntN(len(w.nodes)), k == 12)
				case k < 15:
					w.cut[[2]int{p.i, w.r.IntN(len(w.nodes))}] = true // one way
				case k < 17:
					p.dead = true
				default:
					w.run(time.Duration(w.r.IntN(4000)) * time.Millisecond)
				}
				w.run(time.Duration(w.r.IntN(400)) * time.Millisecond)
			}
			clear(w.cut)
			w.loss = 0
			for _, p := range w.nodes {
				if p.dead {
					p.start()
				}
			}
			w.run(10 * time.Second)
			first := w.nodes[0].store
			for key, r := range newest {
				if got, ok := first.Get(r.Kind, r.Key); !ok || !reflect.DeepEqual(got, r) {
					t.Errorf("%s is %+v; the newest was %+v", key, got, r)
				}
			}
			for _, p := range w.nodes[1:] {
				for _, kind := range []string{"binding", "artifact", "revocation"} {
					if x, y := first.All(kind), p.store.All(kind); !reflect.DeepEqual(x, y) {
						t.Errorf("%s: %d records of %s, the first node has %d; or other ones", p.name(), len(y), kind, len(x))
					}
				}
			}
		})
	}
}

func TestSetsOnlyGrowUntilTheyLapse(t *testing.T) {
	w := newWorld(t, 2, 3)
	a, b := w.nodes[0].store, w.nodes[1].store
	add := func(s *Store, until time.Duration) {
		if _, err := s.Add("revocation", "u", nil, w.now.Add(until)); err != nil {
			t.Fatal(err)
		}
	}
	add(a, 5*time.Minute)
	add(b, time.Minute)
	add(a, time.Second)
	w.run(3 * time.Second)
	for _, p := range w.nodes {
		if r, ok := p.store.Get("revocation", "u"); !ok || time.UnixMilli(r.Expires).Sub(w.now) < 4*time.Minute {
			t.Errorf("%s: %+v", p.name(), r)
		}
	}
	w.run(5 * time.Minute)
	for _, p := range w.nodes {
		if n := len(p.store.records); n != 0 {
			t.Errorf("%s keeps %d that lapsed", p.name(), n)
		}
		p.start()
		if n := len(p.store.records); n != 0 {
			t.Errorf("%s kept %d that lapsed on disk", p.name(), n)
		}
	}
}

func TestDiskIsAsLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "control")
	open := func() *Store {
		s, err := Open(Config{Dir: dir, Writer: "a"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if _, err := os.Stat(dir); err == nil {
		t.Error("a directory is made for nothing")
	}
	for i := range 10 {
		if _, err := s.Put("binding", fmt.Sprint(i), map[string]string{"html": "<&>", "space": " "}, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	want := s.All("binding")
	if got := open().All("binding"); len(got) != 10 || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	s = open()
	if a, b := s.rootLocked(), open().rootLocked(); a != b {
		t.Error("the sum depends on who asks")
	}
}

// Each byte of a file is turned in turn: never is a record other than it was.
func TestDamageIsFoundAndMended(t *testing.T) {
	w := newWorld(t, 2, 4)
	a, b := w.nodes[0], w.nodes[1]
	for i := range 5 {
		a.put("binding", fmt.Sprint("k", i), i)
	}
	w.run(3 * time.Second)
	want := b.store.All("binding")
	path := filepath.Join(a.dir, "binding.records")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(good); at += 7 {
		for name, bad := range map[string][]byte{"flipped": flip(good, at), "cut": good[:at], "zeroed": append(bytes.Clone(good[:at]), make([]byte, len(good)-at)...)} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			a.start()
			if n := len(a.store.All("binding")); n != 0 || a.store.Counts().Damaged != 1 || len(a.store.Damaged()) != 1 {
				t.Fatalf("%s at %d: %d records", name, at, n)
			}
		}
	}
	if _, err := os.Stat(path + aside); err != nil {
		t.Error("nothing is kept for people:", err)
	}
	w.run(5 * time.Second)
	if got := a.store.All("binding"); !reflect.DeepEqual(got, want) || len(a.store.Damaged()) != 0 {
		t.Errorf("%d records came back; damaged %v", len(got), a.store.Damaged())
	}
	a.start()
	if got := a.store.All("binding"); !reflect.DeepEqual(got, want) {
		t.Error("they are not on disk")
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x10
	return b
}

func TestClockAhead(t *testing.T) {
	w := newWorld(t, 2, 5)
	a, b := w.nodes[0], w.nodes[1]
	w.run(time.Second)
	a.ahead = 59 * time.Second
	a.put("binding", "k", 1)
	w.run(time.Second)
	if b.get("binding", "k") != "1" {
		t.Error("59 s ahead is refused")
	}
	a.ahead = 3 * time.Minute
	a.put("binding", "k", 2)
	w.run(5 * time.Second)
	if got := b.get("binding", "k"); got != "1" || b.store.Counts().Clock == 0 {
		t.Errorf("3 minutes ahead is taken: %s", got)
	}
	w.run(3 * time.Minute)
	if got := b.get("binding", "k"); got != "2" {
		t.Errorf("%s; its time has come", got)
	}
	a.store.cfg.Ahead = func() time.Duration { return 61 * time.Second }
	if _, err := a.store.Put("binding", "k", 3, time.Time{}); !errors.Is(err, ErrClock) {
		t.Errorf("%v; the others would refuse it", err)
	}
}

func TestRefusals(t *testing.T) {
	s, err := Open(Config{Writer: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		kind, key string
		value     any
		want      error
	}{
		"a big value": {"binding", "k", strings.Repeat("x", maxValue), ErrTooBig},
		"a big key":   {"binding", strings.Repeat("x", maxKey+1), 1, ErrTooBig},
		"no key":      {"binding", "", 1, ErrTooBig},
		"a path":      {"../x", "k", 1, ErrTooBig},
	} {
		if _, err := s.Put(c.kind, c.key, c.value, time.Time{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range maxKinds {
		if _, err := s.Put("kind"+string(rune('a'+i)), "k", 1, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Put("another", "k", 1, time.Time{}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	for _, body := range []string{"", "x", `{"root":1}`, `{"records":{}}`} {
		if s.Receive("r", "n", 1, []byte(body)) == nil {
			t.Errorf("%q is a note", body)
		}
	}
	for _, body := range []string{`{"records":[null,{},{"kind":"../x","key":"k","version":1},{"kind":"kinda","key":"k","version":9,"value":5}]}`,
		`{"sums":["1"]}`, `{"heads":{"x":[{"n":"?"}]}}`, `{"want":["zz","1"]}`} {
		if err := s.Receive("r", "n", 1, []byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	if r, _ := s.Get("kinda", "k"); string(r.Value) != "5" || len(s.Kinds()) != maxKinds || s.Counts().Refused != 3 {
		t.Errorf("%+v, %v, %+v", r, s.Kinds(), s.Counts())
	}
}

// A disk that takes nothing: what is asked here is refused, what others tell
// counts, and is kept when the disk is well again.
func TestDiskThatTakesNothing(t *testing.T) {
	w := newWorld(t, 2, 6)
	a, b := w.nodes[0], w.nodes[1]
	a.put("binding", "k", 1)
	w.run(time.Second)
	whole := b.store.cfg.Dir
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.store.cfg.Dir = filepath.Join(file, "x")
	if _, err := b.store.Put("binding", "k", 2, time.Time{}); !errors.Is(err, ErrStore) {
		t.Fatal(err)
	}
	if b.get("binding", "k") != "1" || !b.store.Failing() {
		t.Error("refused, and yet done")
	}
	a.put("binding", "k", 3)
	w.run(time.Second)
	if b.get("binding", "k") != "3" {
		t.Error("not taken")
	}
	b.store.cfg.Dir = whole
	w.run(retryEvery + time.Second)
	if b.store.Failing() {
		t.Error("the disk is well again")
	}
	b.start()
	if b.get("binding", "k") != "3" {
		t.Error("not kept")
	}
}

func TestAlone(t *testing.T) {
	w := newWorld(t, 2, 7)
	a := w.nodes[0].store
	if _, alone := a.Alone(); !alone {
		t.Error("nobody was heard yet")
	}
	w.run(3 * time.Second)
	if _, alone := a.Alone(); alone {
		t.Error("the other was heard")
	}
	w.split(0, 1, true)
	w.run(29 * time.Second)
	if _, alone := a.Alone(); alone {
		t.Error("a short loss is no cut")
	}
	w.run(3 * time.Second)
	if since, alone := a.Alone(); !alone || w.now.Sub(since) < cutAfter {
		t.Error("not alone", since)
	}
	w.split(0, 1, false)
	w.run(3 * time.Second)
	if _, alone := a.Alone(); alone {
		t.Error("still alone")
	}
	s, _ := Open(Config{})
	if _, alone := s.Alone(); alone {
		t.Error("a node without others is not cut off")
	}
}

func TestNewNodeGetsAll(t *testing.T) {
	w := newWorld(t, 2, 8)
	a, b := w.nodes[0], w.nodes[1]
	b.dead = true
	until := w.now.Add(time.Hour).UnixMilli()
	var all []*Record
	for i := range 30_000 {
		all = append(all, &Record{Kind: "revocation", Key: fmt.Sprint("u", i), Version: 1, Writer: "r.n0", Expires: until})
	}
	a.store.takeLocked(all, "r", w.now)
	b.start()
	w.run(15 * time.Second)
	if n := len(b.store.All("revocation")); n != len(all) {
		t.Errorf("%d of %d", n, len(all))
	}
	if n := a.store.Counts().Sent; n > uint64(len(all)*11/10) {
		t.Errorf("%d records were sent", n)
	}
}

func TestArtifact(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	nodes := map[position.Origin]func(string) ([]byte, error){
		1: func(string) ([]byte, error) { return nil, errors.New("not here") },
		2: func(string) ([]byte, error) { return want[1:], nil }, // not what the digest names
		3: func(d string) ([]byte, error) { return want, nil },
	}
	ask := func(_ context.Context, node position.Origin, body []byte) ([]byte, error) {
		out, ok, err := ServeArtifact(body, nodes[node])
		if !ok {
			t.Error("not an artifact's request")
		}
		if len(out) > piece+100 {
			t.Errorf("a piece of %d bytes", len(out))
		}
		return out, err
	}
	check := func(raw []byte) error {
		if !bytes.Equal(raw, want) {
			return errors.New("another digest")
		}
		return nil
	}
	got, err := FetchArtifact(t.Context(), []position.Origin{1, 2, 3}, "d", len(want), ask, check)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := FetchArtifact(t.Context(), []position.Origin{1, 2}, "d", len(want), ask, check); err == nil {
		t.Error("another artifact is taken")
	}
	if _, err := FetchArtifact(t.Context(), []position.Origin{3}, "d", len(want)-1, ask, check); err == nil {
		t.Error("more than the limit is taken")
	}
	if _, ok, _ := ServeArtifact([]byte(`{"id":"x"}`), nodes[3]); ok {
		t.Error("a request of another kind is answered")
	}
	for _, q := range []string{"artifact x", `artifact {"offset":-1}`, `artifact {"offset":1000000}`} {
		if _, _, err := ServeArtifact([]byte(q), nodes[3]); err == nil {
			t.Errorf("%s is answered", q)
		}
	}
}

// What a note asks for it gets once, and no more of than one answer has room for,
// whatever it repeats.
func TestAnswersAreBounded(t *testing.T) {
	w := newWorld(t, 1, 1)
	a := w.nodes[0]
	value := `"` + strings.Repeat("v", 60_000) + `"`
	var names []string
	for i := range 200 {
		r := &Record{Kind: "binding", Key: fmt.Sprint("k", i), Version: 1, Writer: "r.n1", Value: json.RawMessage(value)}
		a.store.takeLocked([]*Record{r}, "r", w.now)
		names = append(names, hex(r.name()))
	}
	spy := &answers{}
	a.store.cfg.Bus = spy
	ask := func(n note) (records, bytes int) {
		t.Helper()
		body, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		*spy = answers{}
		if err := a.store.Receive("r", "n1", 2, body); err != nil {
			t.Fatal(err)
		}
		return spy.records, spy.bytes
	}
	var again []string
	var heads []head
	for range 1000 {
		again, heads = append(again, names[7]), append(heads, head{Name: names[7]})
	}
	if n, _ := ask(note{Want: again}); n != 1 {
		t.Errorf("%d records for one name", n)
	}
	if _, bytes := ask(note{Want: names}); bytes < maxGiven || bytes > maxGiven+2*maxNote {
		t.Errorf("%d bytes", bytes)
	}
	bucket := fmt.Sprint(number(names[7]) % buckets)
	if n, _ := ask(note{Heads: map[string][]head{bucket: heads}}); n == 0 || n > 100 {
		t.Errorf("%d records for one bucket", n)
	}
	all := make(map[string][]head)
	for i := range buckets {
		all[fmt.Sprint(i)] = []head{}
	}
	if _, bytes := ask(note{Heads: all}); bytes < maxGiven || bytes > maxGiven+2*maxNote {
		t.Errorf("%d bytes of all", bytes)
	}
}

// answers counts what a store sends.
type answers struct{ records, bytes int }

func (a *answers) Note([]byte) bool { return true }
func (a *answers) NoteTo(_ position.Origin, body []byte) bool {
	var n note
	if json.Unmarshal(body, &n) == nil {
		a.records += len(n.Records)
		a.bytes += len(body)
	}
	return true
}

// Nobody can make a record that has no next version.
func TestVersionsLeaveRoom(t *testing.T) {
	w := newWorld(t, 2, 1)
	a := w.nodes[0]
	a.put("binding", "k", "v1")
	limit := uint64(w.now.Add(maxCount).UnixMilli())
	for _, version := range []uint64{1<<64 - 1, limit + 1} {
		r := &Record{Kind: "binding", Key: "k", Version: version, Writer: "evil"}
		if a.store.takeLocked([]*Record{r}, "r", w.now); a.get("binding", "k") != `"v1"` {
			t.Fatalf("version %d is taken", version)
		}
	}
	if n := a.store.Counts().Refused; n != 2 {
		t.Errorf("%d were refused", n)
	}
	w.run(time.Second)
	a.store.takeLocked([]*Record{{Kind: "binding", Key: "k", Version: limit, Writer: "evil"}}, "r", w.now)
	a.put("binding", "k", "v2")
	w.run(3 * time.Second)
	for _, p := range w.nodes {
		if got := p.get("binding", "k"); got != `"v2"` {
			t.Errorf("%s has %s", p.name(), got)
		}
	}
}
