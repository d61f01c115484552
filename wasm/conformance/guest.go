package conformance

import (
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// RunGuest tests a guest kit by the guest that guest.md describes.
func RunGuest(t *testing.T, host Host, module []byte) {
	g := runFixtures(t, host, module, "guest.jsonl")
	if g == nil {
		return
	}
	defer g.Close()
	t.Run("a batch stops before its output is full", func(t *testing.T) { fullBatch(t, g) })
}

// RunDeliver tests a guest kit by the guest for deliver that guest.md describes.
func RunDeliver(t *testing.T, host Host, module []byte) {
	if g := runFixtures(t, host, module, "deliver.jsonl"); g != nil {
		g.Close()
	}
}

// runFixtures returns the last guest, if one was loaded.
func runFixtures(t *testing.T, host Host, module []byte, name string) (g Guest) {
	cases, err := fixture.ReadFile(data, "testdata/"+name)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, abi.InBuffer)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if c.ABIHook() == abi.Init {
				if g != nil {
					g.Close()
				}
				g, err = host.Load(module, c.Payload)
				if refused := err != nil; refused != (c.Want.Verdict == "deny") {
					t.Fatalf("load: %v, want %s", err, c.Want.Verdict)
				}
				return
			}
			if g == nil {
				if g, err = host.Load(module, nil); err != nil {
					t.Fatal(err)
				}
			}
			runFixture(t, g, &c, buf)
		})
	}
	return g
}

func runFixture(t *testing.T, g Guest, c *fixture.Case, buf []byte) {
	n, err := c.Encode(buf)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := g.(Observer)
	if o != nil {
		o.Log()
	}
	word, out, err := g.Call(c.ABIHook(), buf[:n])
	if err := c.Check(word, out, err); err != nil {
		t.Error(err)
	}
	if o == nil {
		return
	}
	var lines []string
	for _, l := range o.Log() {
		lines = append(lines, l.Text)
	}
	if err := c.CheckLines(lines); err != nil {
		t.Error(err)
	}
}

// fullBatch: five messages that are replaced by 64 KiB each do not fit into 256
// KiB; three do, with the words.
func fullBatch(t *testing.T, g Guest) {
	buf := make([]byte, abi.InBuffer)
	var b abi.Batch
	b.Reset(buf, 5)
	for range 5 {
		b.Add(&abi.Event{Now: fixture.Epoch, Channel: "c", Name: "big"})
	}
	n, err := b.Encode(fixture.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	word, out, err := g.Call(abi.PublishBatch, buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	var a abi.Answers
	if err := a.Parse(word, out, 5); err != nil {
		t.Fatal(err)
	}
	if a.Len() < 1 || a.Len() > 3 {
		t.Errorf("%d answered", a.Len())
	}
	for range a.Len() {
		var r abi.Result
		if _, err := a.Next(&r); err != nil || len(r.Payload) != abi.OutBuffer {
			t.Errorf("%v, %d bytes", err, len(r.Payload))
		}
	}
}
