package registry

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "plugins"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func path(s *Store, name string) string { return filepath.Join(s.dir, name) }

// flip changes a byte of a file in its place.
func flip(t *testing.T, path string, at int, by byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(at)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= by
	if _, err := f.WriteAt(b[:], int64(at)); err != nil {
		t.Fatal(err)
	}
}

func TestBundles(t *testing.T) {
	s := openStore(t)
	if info, err := os.Stat(s.dir); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	b := &manifest.Bundle{Manifest: []byte(`{}`), Wasm: bytes.Repeat([]byte("w"), 3000), Signature: "a:b"}
	d := b.Digest()
	if err := s.Put(b); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path(s, bundles+"/"+manifest.Hex(policy.Digest{9})+beside), []byte("half"), 0o600) // a crash left it
	os.WriteFile(path(s, bundles+"/README"), nil, 0o600)
	if got, err := s.List(); err != nil || !slices.Equal(got, []policy.Digest{d}) {
		t.Errorf("%x %v", got, err)
	}
	if got, err := s.Get(d); err != nil || !reflect.DeepEqual(got, b) {
		t.Fatal(got, err)
	}
	file := path(s, bundles+"/"+manifest.Hex(d))
	size := len(b.Encode())
	for range 1000 {
		at, by := rand.IntN(size), byte(1+rand.IntN(255))
		flip(t, file, at, by)
		if _, err := s.Get(d); err == nil {
			t.Fatalf("byte %d flipped by %x is not noticed", at, by)
		}
		flip(t, file, at, by)
	}
	// A whole bundle under another's name is not that other.
	os.WriteFile(path(s, bundles+"/"+manifest.Hex(policy.Digest{7})), b.Encode(), 0o600)
	if _, err := s.Get(policy.Digest{7}); err == nil {
		t.Error("another version's file is taken")
	}
	if err := s.Delete(d); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(d); err != nil {
		t.Error("deleting twice:", err)
	}
	if _, err := s.Get(d); err == nil {
		t.Error("deleted, and there")
	}
}

func TestState(t *testing.T) {
	s := openStore(t)
	if st, damage, err := s.Load(); err != nil || damage != nil || st.Save != 0 {
		t.Fatalf("%+v %v %v", st, damage, err)
	}
	st := State{
		Bindings: []Binding{{Pattern: "rides.>", Plugin: "geofence", Stable: Digest{1, 2}, Canary: Digest{3}, Percent: 10, Promoted: time.Unix(1700000000, 5).UTC(), Revision: 4, Origin: "eu"}},
		Versions: []Version{{Digest: Digest{1, 2}, Name: "geofence", Serial: 3, Hooks: []string{"publish"}, Publish: "drop"}},
		Serials:  map[string]uint64{"geofence": 3},
	}
	if err := s.Save(&st); err != nil {
		t.Fatal(err)
	}
	same := func(what string, harmed int) {
		t.Helper()
		got, damage, err := s.Load()
		if err != nil || len(damage) != harmed || !reflect.DeepEqual(got, st) {
			t.Fatalf("%s: %+v, damage %v, %v", what, got, damage, err)
		}
	}
	same("as saved", 0)
	raw, _ := os.ReadFile(path(s, copies[0]))
	for range 1000 {
		at, by, name := rand.IntN(len(raw)), byte(1+rand.IntN(255)), copies[rand.IntN(2)]
		flip(t, path(s, name), at, by)
		same("one copy damaged", 1)
		flip(t, path(s, name), at, by)
	}
	os.Remove(path(s, copies[0]))
	same("one copy lost", 0)
	flip(t, path(s, copies[1]), 70, 1)
	if _, _, err := s.Load(); err == nil {
		t.Error("nobody knows what was bound, and it begins with nothing")
	}
	st.Save = 7
	if err := s.Save(&st); err != nil || st.Save != 8 {
		t.Fatal(st.Save, err)
	}
	newer, _ := os.ReadFile(path(s, copies[0]))
	os.WriteFile(path(s, copies[0]), raw, 0o600) // the second copy alone was written: the newer one counts
	same("an old first copy", 0)
	os.WriteFile(path(s, copies[0]), newer, 0o600)
}

func TestNewer(t *testing.T) {
	a := Binding{Revision: 3, Origin: "eu"}
	for _, c := range []struct {
		b    Binding
		want bool
	}{{Binding{Revision: 4, Origin: "aa"}, true}, {Binding{Revision: 2, Origin: "us"}, false}, {Binding{Revision: 3, Origin: "us"}, true}, {a, false}, {Binding{Revision: 3}, false}} {
		if c.b.Newer(&a) != c.want {
			t.Errorf("%+v", c.b)
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add(seal([]byte(`{"save":1,"bindings":[{"pattern":"a.>","plugin":"f","revision":1}],"versions":null,"serials":{"f":3}}`)))
	f.Add([]byte(`{"sum":"","state":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, text := range [][]byte{raw, seal(raw)} { // the second has a good checksum
			st, err := open(text)
			if err != nil {
				continue
			}
			NewTable(st.Bindings, func(d policy.Digest) policy.Digest { return d }).Lookup("a.b")
		}
	})
}
