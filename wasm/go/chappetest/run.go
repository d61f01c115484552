package chappetest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/bare"
	"github.com/chappe-relay/chappe/wasm/fixture"
	chappe "github.com/chappe-relay/chappe/wasm/go"
	"github.com/chappe-relay/chappe/wasm/internal/fake"
)

// Run runs a file's cases on the plugin of the package under test, both ways.
func Run(t *testing.T, file string) {
	t.Run("native", func(t *testing.T) { Native(t, file) })
	t.Run("module", func(t *testing.T) { Module(t, Build(t, "."), file) })
}

// Native runs a file's cases on the handlers that the test's own process has. It
// is for one test at a time.
func Native(t *testing.T, file string) {
	in, out := chappe.Buffers(abi.InBuffer, abi.OutBatch)
	start := func(config []byte) (*fake.Host, caller, error) {
		fake.Current = fake.New(config)
		return fake.Current, func(h abi.Hook, frame []byte) (uint64, []byte, error) {
			if h != abi.PublishBatch && !chappe.Handles(h) {
				return 0, nil, fmt.Errorf("nothing handles %s", h)
			}
			fake.Current.Now = int64(abi.Frame(frame).Now())
			n := copy(in, frame)
			return chappe.Serve(h, uint32(n)), out, nil
		}, initNative(in, out, config)
	}
	run(t, file, start)
}

func initNative(in, out, config []byte) error {
	if len(config) == 0 {
		config = []byte("{}")
	}
	e := abi.Event{Now: fixture.Epoch, Payload: config, Arg0: abi.InBuffer}
	n, err := e.Encode(in, abi.Init)
	if err != nil {
		return err
	}
	var r abi.Result
	if err := r.Parse(chappe.Serve(abi.Init, uint32(n)), out, abi.Init, 0); err != nil {
		return err
	}
	if r.Verdict == abi.Deny {
		return fmt.Errorf("configuration refused: %s", r.Reason)
	}
	return nil
}

// Module runs a file's cases on a module, on the host of package bare.
func Module(t *testing.T, module []byte, file string) {
	var old *bare.Guest
	run(t, file, func(config []byte) (*fake.Host, caller, error) {
		if old != nil {
			old.Close()
		}
		g, err := bare.Load(t.Context(), module, config)
		if err != nil {
			return nil, nil, err
		}
		old = g
		return g.Host, g.Call, nil
	})
	if old != nil {
		old.Close()
	}
}

// caller calls a hook.
type caller func(h abi.Hook, frame []byte) (word uint64, out []byte, err error)

func run(t *testing.T, file string, start func(config []byte) (*fake.Host, caller, error)) {
	t.Helper()
	cases, err := fixture.ReadFile(os.DirFS(filepath.Dir(file)), filepath.Base(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("%s has no cases", file)
	}
	var host *fake.Host
	var call caller
	buf := make([]byte, abi.InBuffer)
	for _, c := range cases {
		name := c.Name
		if name == "" {
			name = c.Hook
		}
		t.Run(fmt.Sprintf("%d %s", c.Line, name), func(t *testing.T) {
			if c.ABIHook() == abi.Init || call == nil {
				var config []byte
				if c.ABIHook() == abi.Init {
					config = c.Payload
				}
				h, f, err := start(config)
				switch wantError := c.ABIHook() == abi.Init && c.Want != nil && c.Want.Verdict != "allow"; {
				case wantError && err == nil:
					t.Fatal("the configuration was taken")
				case !wantError && err != nil:
					t.Fatal(err)
				}
				host, call = h, f
				if c.ABIHook() == abi.Init {
					return
				}
			}
			n, err := c.Encode(buf)
			if err != nil {
				t.Fatal(err)
			}
			host.Lines = host.Lines[:0]
			word, out, err := call(c.ABIHook(), buf[:n])
			if err := c.Check(word, out, err); err != nil {
				t.Error(err)
			}
			lines := make([]string, len(host.Lines))
			for i, l := range host.Lines {
				lines[i] = l.Text
			}
			if err := c.CheckLines(lines); err != nil {
				t.Error(err)
			}
		})
	}
}
