package relay_test

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/chappe-relay/chappe/"

// The import arrows. Each rule says why: whoever breaks one reads it.
var arrows = []struct {
	pkg    string
	only   []string // of ours, with their sub-packages; nothing else
	never  []string // of anybody's
	reason string
}{
	{"relay/position", nil, nil, "positions are shared by servers and clients of all kinds: the standard library only"},
	{"relay/channel", nil, nil, "names are checked everywhere: the standard library only"},
	{"relay/identity", nil, nil, "who may do what is asked by all: the standard library only"},
	{"relay/policy", []string{"relay/identity", "relay/wire", "relay/position"}, nil, "what is asked of plugins is data and one interface"},
	{"relay/wire", []string{"relay/position"}, nil, "a client links the protocol and nothing else"},
	{"relay/namespace", []string{"relay/identity"}, nil, "options are data"},
	{"relay/log", []string{"relay/position", "relay/wire", "relay/policy", "relay/identity"}, []string{"net", "net/http"}, "a log knows no sockets: it runs in the simulation"},
	{"relay/node", []string{"relay/log", "relay/policy", "relay/channel", "relay/namespace", "relay/identity", "relay/position", "relay/wire"},
		[]string{"net", "net/http"}, "a node is passive: its owner brings clock, bus and sockets"},
	{"relay/presence", []string{"relay/position", "relay/wire"}, []string{"net", "net/http"}, "presence is passive: its owner brings clock and bus"},
	{"relay/session", []string{"relay/presence", "relay/node", "relay/log", "relay/policy", "relay/channel", "relay/namespace", "relay/identity", "relay/position", "relay/wire"},
		[]string{"net/http"}, "a session knows no transport: all of them share it"},
	{"relay/writer", nil, nil, "writers move bytes: they know neither sessions nor protocols"},
	{"relay/...", []string{"relay"}, []string{"github.com/tetratelabs/wazero", "github.com/nats-io"},
		"the core is a library without a WASM engine and without a mesh: plugins and edge bring them"},
	{"wasm/abi", nil, nil, "guests link the ABI: the standard library only"},
	{"wasm/fixture", []string{"wasm/abi"}, nil, "recorded frames are data of the ABI"},
	{"plugins/instrument", []string{"wasm/abi"}, []string{"github.com/tetratelabs/wazero"}, "what is checked is not yet trusted to an engine"},
	{"plugins", []string{"plugins", "relay/policy", "relay/identity", "relay/wire", "relay/channel", "relay/position", "wasm/abi", "wasm/fixture"},
		[]string{"github.com/tetratelabs/wazero", "github.com/nats-io"}, "the host decides which version is asked; an engine runs it"},
	{"plugins/engine", []string{"plugins", "relay/policy", "relay/identity", "relay/wire", "relay/channel", "relay/position", "wasm/abi", "wasm/fixture"},
		[]string{"github.com/nats-io"}, "plugins run without a node"},
	{"edge/mesh", []string{"relay/node", "relay/log", "relay/policy", "relay/channel", "relay/namespace", "relay/identity", "relay/position", "relay/wire"}, nil, "the mesh carries what nodes say"},
	{"edge/control", []string{"relay/position"}, []string{"net", "net/http", "github.com/nats-io"}, "the control state is passive: its owner brings clock and bus"},
	{"sdk/go", []string{"sdk/go/internal", "relay/wire", "relay/position", "relay/channel"},
		[]string{"github.com/gobwas/ws", "github.com/tetratelabs/wazero", "github.com/nats-io", "github.com/quic-go"},
		"a client must not link the server, nor QUIC: sdk/go/wt brings it"},
	{"sdk/go/wt", []string{"sdk/go/internal", "relay/wire", "relay/position"}, []string{"github.com/gobwas/ws", "github.com/tetratelabs/wazero", "github.com/nats-io"},
		"a client must not link the server"},
}

func TestImportArrows(t *testing.T) {
	for _, a := range arrows {
		out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}: {{join .Deps \" \"}}", module+a.pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("go list %s: %v\n%s", a.pkg, err, out)
		}
		for line := range strings.Lines(string(out)) {
			pkg, deps, _ := strings.Cut(strings.TrimSpace(line), ": ")
			for dep := range strings.FieldsSeq(deps) {
				for _, n := range a.never {
					if dep == n || strings.HasPrefix(dep, n+"/") {
						t.Errorf("%s imports %s: %s", pkg, dep, a.reason)
					}
				}
				ours, ok := strings.CutPrefix(dep, module)
				if ok && !allowed(ours, a.only) {
					t.Errorf("%s imports %s: %s", pkg, ours, a.reason)
				}
			}
		}
	}
}

func allowed(dep string, only []string) bool {
	for _, o := range only {
		if dep == o || strings.HasPrefix(dep, o+"/") {
			return true
		}
	}
	return false
}
