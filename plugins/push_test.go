package plugins

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
)

var filter = script{Hooks: "publish", Mark: "v1:"}

func TestFlippedUploads(t *testing.T) {
	r := newRig(t, nil)
	b := r.bundle("geofence", filter, `,"role":"filter","text":"`+strings.Repeat("x", 100)+`"`)
	for i := range 1000 {
		bad := manifest.Bundle{Manifest: slices.Clone(b.Manifest), Wasm: slices.Clone(b.Wasm)}
		sig := []byte(b.Signature)
		part := [][]byte{bad.Manifest, bad.Wasm, sig}[i%3]
		at, by := rand.IntN(len(part)), byte(1+rand.IntN(255))
		part[at] ^= by
		bad.Signature = string(sig)
		if _, _, err := r.Push(t.Context(), &bad); reasonOf(err) != BadSignature && reasonOf(err) != BadManifest {
			t.Fatalf("part %d, byte %d flipped by %x: %v", i%3, at, by, err)
		}
	}
	if n := len(r.loader.guests); n != 0 {
		t.Errorf("%d of them were loaded", n)
	}
	if _, known, err := r.Push(t.Context(), b); err != nil || known {
		t.Errorf("the good one: %v", err)
	}
}

func TestWhoUploads(t *testing.T) {
	r := newRig(t, nil)
	fresh := func() *manifest.Bundle { return r.bundle("geofence", filter, "") }
	unsigned := fresh()
	unsigned.Signature = ""
	for name, b := range map[string]*manifest.Bundle{
		"unsigned": unsigned, "stranger": r.sign(fresh(), "stranger"), "revoked": r.sign(fresh(), "gone"), "retired": r.sign(fresh(), "old"),
	} {
		if _, _, err := r.Push(t.Context(), b); reasonOf(err) != BadSignature {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Adopt(t.Context(), r.sign(fresh(), "old")); err != nil {
		t.Errorf("accepted by another node before the key was retired: %v", err)
	}
	if _, err := r.Adopt(t.Context(), r.sign(fresh(), "gone")); reasonOf(err) != BadSignature {
		t.Errorf("accepted by another node, and the key was revoked: %v", err)
	}
	dev := newRig(t, func(c *Config) { c.Dev = true })
	b := dev.bundle("geofence", filter, "")
	b.Signature = ""
	if _, _, err := dev.Push(t.Context(), b); err != nil {
		t.Errorf("unsigned in dev: %v", err)
	}
	b = dev.bundle("geofence", filter, "")
	// Not its end: the last byte of a signature is below 16, and often 0.
	other := "B"
	if at := strings.IndexByte(b.Signature, ':') + 1; b.Signature[at] == 'B' {
		other = "C"
	}
	name, text, _ := strings.Cut(b.Signature, ":")
	b.Signature = name + ":" + other + text[1:]
	if _, _, err := dev.Push(t.Context(), b); reasonOf(err) != BadSignature {
		t.Errorf("a wrong signature in dev: %v", err)
	}
}

func TestReplay(t *testing.T) {
	r := newRig(t, nil)
	first := r.bundle("geofence", filter, "")
	second := r.bundle("geofence", script{Hooks: "publish", Mark: "v2:"}, "")
	for _, b := range []*manifest.Bundle{first, second} {
		if _, _, err := r.Push(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if _, known, err := r.Push(t.Context(), first); err != nil || !known {
		t.Errorf("what is here already: known %t, %v", known, err)
	}
	if err := r.Delete(t.Context(), "geofence", first.Digest()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Push(t.Context(), first); reasonOf(err) != Replayed {
		t.Errorf("an old version comes back: %v", err)
	}
	if err := r.Delete(t.Context(), "geofence", policy.Digest{}); err != nil {
		t.Fatal(err)
	}
	if len(r.loader.forgot) != 2 || len(r.List()) != 1 || len(r.Digests()) != 0 { // the refusals are told
		t.Errorf("forgot %d; %+v", len(r.loader.forgot), r.List())
	}
	r.restart(nil)
	for _, b := range []*manifest.Bundle{first, second} {
		if _, _, err := r.Push(t.Context(), b); reasonOf(err) != Replayed {
			t.Errorf("a deleted version comes back after a restart: %v", err)
		}
	}
	if _, _, err := r.Push(t.Context(), r.bundle("thin", filter, "")); err != nil {
		t.Errorf("another name has serials of its own: %v", err)
	}
}

func TestRefusedUploads(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		name string
		s    script
		more string
		want Reason
	}{
		{"module", script{Hooks: "publish", Broken: true}, "", BadModule},
		{"self-test", script{Hooks: "publish", Fails: true}, `,"tests":[{"hook":"publish","channel":"a"}]`, TestFailed},
		{"hooks", script{Hooks: "publish"}, `,"hooks":["publish","deliver"]`, BadManifest},
		{"wishes", script{Hooks: "publish"}, `,"limits":{"memory_pages":10000}`, BadManifest},
	} {
		b := r.bundle("geofence", c.s, c.more)
		_, _, err := r.Push(t.Context(), b)
		if reasonOf(err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.want == BadModule && (!strings.Contains(err.Error(), "rule magic") || !strings.Contains(err.Error(), "f7") || !strings.Contains(err.Error(), "39")) {
			t.Errorf("%v: does not tell the place", err)
		}
		if err := errClosedUnlessEnded(r, b.Digest()); c.want != BadManifest && c.want != BadModule && err != "" {
			t.Errorf("%s: %s", c.name, err)
		}
		if _, err := r.Bind(t.Context(), "geofence", b.Digest(), []string{"a"}, 0); reasonOf(err) != NotFound {
			t.Errorf("%s: bound: %v", c.name, err)
		}
		v := r.List()[0].Versions[0]
		if v.State != Broken || v.Why == "" || policy.Digest(v.Digest) != b.Digest() {
			t.Errorf("%s is listed as %+v", c.name, v)
		}
	}
	// The serial of what was refused may be used again.
	r.serial = 0
	r.push("geofence", filter, "")
	if files, _ := os.ReadDir(filepath.Join(r.cfg.Dir, "bundles")); len(files) != 1 {
		t.Errorf("%d bundles are kept", len(files))
	}
	if len(r.loader.forgot) != 2 { // those that were loaded, and refused then
		t.Errorf("forgot %d", len(r.loader.forgot))
	}
}

// errClosedUnlessEnded says what is wrong if a guest that was loaded for an
// upload that failed still runs.
func errClosedUnlessEnded(r *rig, d policy.Digest) string {
	r.loader.mu.Lock()
	defer r.loader.mu.Unlock()
	for _, g := range r.loader.guests[d] {
		if !g.closed.Load() {
			return "its guest still runs"
		}
	}
	return ""
}

func TestQueueOfUploads(t *testing.T) {
	r := newRig(t, nil)
	r.loader.gate = make(chan struct{})
	errs := make(chan error, maxQueued)
	for range maxQueued {
		b := r.bundle("geofence", script{Hooks: "publish", Mark: t.Name()}, "")
		go func() {
			_, _, err := r.Push(t.Context(), b)
			errs <- err
		}()
	}
	for r.queued.Load() < maxQueued {
	}
	if _, _, err := r.Push(t.Context(), r.bundle("geofence", filter, "")); reasonOf(err) != Busy {
		t.Errorf("one too many: %v", err)
	}
	close(r.loader.gate)
	good := 0
	for range maxQueued {
		switch err := <-errs; reasonOf(err) {
		case "":
			good++
		case Replayed: // a later serial came first
		default:
			t.Error(err)
		}
	}
	if good == 0 {
		t.Error("none was taken")
	}
}
