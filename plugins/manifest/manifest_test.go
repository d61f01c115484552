package manifest

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
)

const full = `{"name":"geofence","abi":1,"role":"filter","serial":7,"text":"near riders only",
"hooks":["publish","deliver","subscribe"],"capabilities":["log","metrics"],"failure":{"publish":"deny"},
"limits":{"fuel":{"publish":1000000},"wall_ms":{"publish":20},"memory_pages":64,"depth":500},
"config":{"radius":300},"tests":[{"hook":"publish","channel":"rides.1","payload":"x","want":{"verdict":"allow"}}]}`

func TestParse(t *testing.T) {
	m, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "geofence" || m.Serial != 7 || len(m.Cases()) != 1 || m.Cases()[0].Channel != "rides.1" || m.Limits.Fuel["publish"] != 1000000 {
		t.Errorf("%+v", m)
	}
	if got := m.Functions(); !slices.Equal(got, []string{"config_get", "log", "metric_define", "metric_add"}) {
		t.Errorf("functions %q", got)
	}
	for function, want := range map[string]Capability{"log": Log, "kv_incr": KV, "config_get": "", "now_ms": Clock} {
		if c, ok := Needs(function); c != want || !ok {
			t.Errorf("%s needs %q, %t", function, c, ok)
		}
	}
	if _, ok := Needs("open_socket"); ok {
		t.Error("a function that no host has")
	}
	for _, c := range []struct{ name, text, says string }{
		{"no name", `{"abi":1}`, "name"},
		{"name", `{"name":"A b","abi":1}`, "name"},
		{"name too long", `{"name":"` + strings.Repeat("a", 65) + `","abi":1}`, "name"},
		{"abi", `{"name":"a","abi":2}`, "this host has 1"},
		{"role", `{"name":"a","abi":1,"role":"king"}`, "role"},
		{"unknown field", `{"name":"a","abi":1,"rolle":"filter"}`, "rolle"},
		{"hook", `{"name":"a","abi":1,"hooks":["publish","fly"]}`, "fly"},
		{"hook twice", `{"name":"a","abi":1,"hooks":["publish","publish"]}`, "twice"},
		{"init is no hook", `{"name":"a","abi":1,"hooks":["init"]}`, "init"},
		{"capability", `{"name":"a","abi":1,"capabilities":["net"]}`, "net"},
		{"laxer", `{"name":"a","abi":1,"role":"authorise","failure":{"publish":"pass"}}`, "laxer"},
		{"laxer filter", `{"name":"a","abi":1,"failure":{"publish":"pass"}}`, "laxer"},
		{"laxer connect", `{"name":"a","abi":1,"failure":{"connect":"pass"}}`, "laxer"},
		{"always", `{"name":"a","abi":1,"failure":{"deliver":"deny"}}`, "always"},
		{"observer", `{"name":"a","abi":1,"failure":{"presence":"deny"}}`, "always"},
		{"policy", `{"name":"a","abi":1,"failure":{"publish":"explode"}}`, "explode"},
		{"fuel of no hook", `{"name":"a","abi":1,"limits":{"fuel":{"fly":1}}}`, "fly"},
		{"wall of no hook", `{"name":"a","abi":1,"limits":{"wall_ms":{"fly":1}}}`, "fly"},
		{"config", `{"name":"a","abi":1,"config":[1]}`, "config"},
		{"config too big", `{"name":"a","abi":1,"config":{"x":"` + strings.Repeat("a", MaxConfig) + `"}}`, "config"},
		{"test", `{"name":"a","abi":1,"tests":[{"hook":"fly"}]}`, "fly"},
		{"tests", `{"name":"a","abi":1,"tests":[` + strings.Repeat(`{"hook":"presence"},`, MaxTests) + `{"hook":"presence"}]}`, "tests"},
		{"text", `{"name":"a","abi":1,"text":"` + strings.Repeat("a", 257) + `"}`, "text"},
		{"two values", `{"name":"a","abi":1}{}`, "follows"},
		{"negative serial", `{"name":"a","abi":1,"serial":-1}`, "serial"},
		{"too big", `{"name":"a","abi":1,"text":"` + strings.Repeat("a", MaxBytes) + `"}`, "at most"},
		{"nothing", ``, "manifest"},
	} {
		if _, err := Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want something about %q", c.name, err, c.says)
		}
	}
	_, err = Parse([]byte(`{"name":"A","abi":9,"role":"king"}`))
	for _, all := range []string{"name", "abi", "role"} {
		if err == nil || !strings.Contains(err.Error(), all) {
			t.Errorf("%v: does not tell about %s", err, all)
		}
	}
}

func TestFailure(t *testing.T) {
	for _, c := range []struct {
		role Role
		hook abi.Hook
		want Failure
	}{
		{Authorise, abi.Publish, Deny}, {Filter, abi.Publish, Drop}, {"", abi.Publish, Drop}, {Transform, abi.PublishBatch, Pass}, {Observe, abi.Publish, Pass},
		{Observe, abi.Connect, Deny}, {Transform, abi.Subscribe, Deny}, {Filter, abi.History, Deny}, {Transform, abi.Deliver, Drop},
		{Authorise, abi.Presence, Ignore}, {Authorise, abi.Disconnect, Ignore}, {Authorise, abi.Timer, Ignore},
	} {
		m := Manifest{Role: c.role}
		if got := m.OnFailure(c.hook); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.role, c.hook, got, c.want)
		}
	}
	m := Manifest{Role: Transform, Failure: map[string]Failure{"publish": Drop}}
	if err := m.checkFailure(); err != nil || m.OnFailure(abi.PublishBatch) != Drop {
		t.Errorf("a stricter wish: %v, %s", err, m.OnFailure(abi.PublishBatch))
	}
}

func TestExportsAndCaps(t *testing.T) {
	m := Manifest{Hooks: []string{"publish", "deliver"}}
	if err := m.CheckExports([]abi.Hook{abi.Init, abi.Deliver, abi.Publish}); err != nil {
		t.Error(err)
	}
	if err := m.CheckExports([]abi.Hook{abi.Publish, abi.Connect}); err == nil || !strings.Contains(err.Error(), "deliver is declared") || !strings.Contains(err.Error(), "connect is exported") {
		t.Error(err)
	}
	if err := (&Manifest{}).CheckExports([]abi.Hook{abi.Connect}); err != nil {
		t.Error(err)
	}
	l := Limits{Fuel: map[string]uint64{"publish": 300_000_000}, Wall: map[string]uint32{"timer": 2001}, Memory: 257, Depth: 10_001}
	err := l.Check(Caps{})
	for _, what := range []string{"fuel.publish", "wall_ms.timer", "memory_pages", "depth"} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: nothing about %s", err, what)
		}
	}
	if err := l.Check(Caps{Fuel: 300_000_000, Wall: 2001, Memory: 257, Depth: 10_001}); err != nil {
		t.Error(err)
	}
}

func TestBundle(t *testing.T) {
	b := Bundle{Manifest: []byte(full), Wasm: bytes.Repeat([]byte{0, 0x61, 0x73, 0x6d}, 500), Signature: "k:sig"}
	raw := b.Encode()
	back, err := Decode(raw)
	if err != nil || !bytes.Equal(back.Manifest, b.Manifest) || !bytes.Equal(back.Wasm, b.Wasm) || back.Signature != b.Signature || back.Digest() != b.Digest() {
		t.Fatalf("%v, %+v", err, back)
	}
	for range 1000 {
		bad := slices.Clone(raw)
		bad[rand.IntN(len(bad))] ^= byte(1 + rand.IntN(255))
		if _, err := Decode(bad); err == nil {
			t.Fatal("a flipped byte is not noticed")
		}
	}
	for n := range len(raw) {
		if _, err := Decode(raw[:n]); err == nil {
			t.Fatalf("cut at %d is not noticed", n)
		}
	}
	if _, err := Decode(append(slices.Clone(raw), 0)); err == nil {
		t.Error("a byte more is not noticed")
	}
	moved := Bundle{Manifest: append(slices.Clone(b.Manifest), b.Wasm[0]), Wasm: b.Wasm[1:]}
	if moved.Digest() == b.Digest() {
		t.Error("a byte moved from module to manifest leaves the digest")
	}
	d := b.Digest()
	if got, err := ParseDigest(Hex(d)); err != nil || got != d {
		t.Errorf("%x, %v", got, err)
	}
	for _, bad := range []string{"", "xx", Hex(d)[1:], Hex(d) + "00"} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q is a digest", bad)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((&Bundle{Manifest: []byte("{}"), Wasm: []byte("\x00asm")}).Encode())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := Decode(raw)
		if err == nil && !bytes.Equal(b.Encode(), raw) {
			t.Error("two spellings of one bundle")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`{"name":"a","abi":1,"serial":1,"tests":[{"hook":"deliver","readers":[{}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) <= MaxBytes {
			if _, err := Parse(again); err != nil {
				t.Errorf("%s: read, and not read again: %v", text, err)
			}
		}
	})
}
