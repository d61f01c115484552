package conformance

import (
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// lax is a host that runs no module: it answers what the script says, and checks
// nothing. The kit must find it out.
type lax struct{ out []byte }

func (l *lax) Call(_ abi.Hook, frame []byte) (uint64, []byte, error) {
	p := abi.Frame(frame).Ref(abi.OffPayload)
	if len(p) < 8 {
		return 1, l.out, nil
	}
	copy(l.out, p[8:])
	word := uint64(0)
	for i := range 8 {
		word |= uint64(p[i]) << (8 * i)
	}
	return word, l.out, nil
}

func (l *lax) Close() error { return nil }

func TestALaxHostIsFound(t *testing.T) {
	g := &lax{out: make([]byte, abi.OutBatch)}
	faults := 0
	for _, c := range load[script](t, "host.jsonl") {
		err := c.run(g)
		if c.Fault {
			faults++
		}
		if wrong := c.Fault || c.Key != ""; wrong != (err != nil) {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	if faults < 90 {
		t.Errorf("%d cases of forged answers", faults)
	}
	if echo(g) == nil {
		t.Error("frames that do not arrive were not missed")
	}
	saved := map[string]int64{}
	for _, c := range load[call](t, "calls.jsonl") {
		if c.run(g, saved) == nil {
			t.Errorf("%s: nothing was called, and nothing was missed", c.Name)
		}
	}
}

// Each wanted part of an answer is compared: a host that mixes up answers is found.
func TestAnAnswerOfAnotherCaseIsFound(t *testing.T) {
	g := &lax{out: make([]byte, abi.OutBatch)}
	cases := load[script](t, "host.jsonl")
	for i, c := range cases {
		if c.Fault || c.Key != "" || c.Hook != "publish" {
			continue
		}
		for j, other := range cases {
			if i == j || other.Fault || other.Hook != c.Hook || other.Key != "" || c.Word == other.Word && c.Out == other.Out {
				continue
			}
			mixed := c
			mixed.Word, mixed.Out, mixed.Fill = other.Word, other.Out, other.Fill
			if mixed.run(g) == nil && !general(c.Name) {
				t.Errorf("%s took the answer of %s", c.Name, other.Name)
			}
		}
	}
}

// general are the cases that ask for no more than a verdict.
func general(name string) bool {
	switch name {
	case "publish allow", "allow with an empty list", "allow", "drop", "replace by 64 KiB":
		return true
	}
	return false
}
