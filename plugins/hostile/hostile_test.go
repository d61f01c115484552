package hostile

import (
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
)

func TestModules(t *testing.T) {
	names := map[string]bool{}
	for _, h := range Modules() {
		if h.Name == "" || h.Text == "" || h.Want == "" || names[h.Name] {
			t.Errorf("%+v: incomplete, or its name is taken", h.Name)
		}
		names[h.Name] = true
	}
	if len(names) < 100 {
		t.Errorf("%d modules", len(names))
	}
	if In<<32|Out != 0x1000000050000 || In+abi.InBuffer != Out {
		t.Error("the text of chappe_buffers does not say where they are")
	}
	if n := len(bombs()[0].Wasm); n > 39 {
		t.Errorf("the bomb of 39 bytes has %d", n)
	}
}
