package main

import (
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/api"
	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/plugins/instrument"
	"github.com/chappe-relay/chappe/plugins/sign"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// TestPluginScripts runs the plugin commands against the plugin host and engine of
// a node, behind its admin API: $CHAPPE_ADMIN_URL takes unsigned uploads, as
// chappe dev does, $SIGNED only those of the key in ann.key. The guests are in the
// script's folder.
func TestPluginScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/plugin",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "NO_PROXY=*", "GORACE=atexit_sleep_ms=0", "TZ=UTC")
			for name, wasm := range guests() {
				if err := os.WriteFile(filepath.Join(e.WorkDir, name+".wasm"), wasm, 0o600); err != nil {
					return err
				}
			}
			public, secret, err := sign.Generate()
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, "ann.key"), []byte(secret+"\n"), 0o600); err != nil {
				return err
			}
			key, err := sign.ParsePublic(public)
			if err != nil {
				return err
			}
			dev, err := host(e, plugins.Config{Dev: true})
			if err != nil {
				return err
			}
			signed, err := host(e, plugins.Config{Keys: []sign.Key{{Name: "ann", Public: ed25519.PublicKey(key)}}})
			if err != nil {
				return err
			}
			e.Values["host"] = dev.host
			e.Vars = append(e.Vars, "CHAPPE_ADMIN_URL="+dev.url, "SIGNED="+signed.url)
			return nil
		},
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"publish": publish, "node": begin, "end": stop},
		RequireExplicitExec: true,
	})
}

type administered struct {
	host *plugins.Host
	url  string
}

const adminToken = "operator-operator"

// host serves a plugin host; one that wants signatures wants a token, too.
func host(e *testscript.Env, c plugins.Config) (administered, error) {
	loader, err := engine.New(engine.Config{})
	if err != nil {
		return administered{}, err
	}
	dir, err := os.MkdirTemp(e.WorkDir, ".store")
	if err != nil {
		return administered{}, err
	}
	c.Dir, c.Loader = dir, loader
	h, err := plugins.Open(e.T().(testing.TB).Context(), c)
	if err != nil {
		return administered{}, err
	}
	serve := api.Handler(h, nil)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !c.Dev && r.Header.Get("Authorization") != "Bearer "+adminToken {
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte(`{"error":{"code":"token_required","text":"the admin token is missing or wrong"}}`))
			return
		}
		serve.ServeHTTP(w, r)
	}))
	e.Defer(func() {
		h.Close()
		s.Close()
	})
	return administered{h, s.URL}, nil
}

// publish CHANNEL TEXT asks the plugin of a channel about a message; its verdict
// must be allow, or with ! deny.
func publish(ts *testscript.TestScript, neg bool, args []string) {
	h := ts.Value("host").(*plugins.Host)
	err := h.Publish(&policy.Client{Session: "c1"}, &wire.Pub{Channel: args[0], Data: []byte(args[1])}, func(*policy.Publication) {})
	if (err != nil) != neg {
		ts.Fatalf("publish: %v", err)
	}
}

// guests are small modules.
func guests() map[string][]byte {
	all := map[string][]byte{"junk": []byte("no module")}
	guest := func(name string, with func(*hostile.Builder), code string) {
		b := hostile.Plugin(with)
		b.Hook(abi.ExportPublish, "", code)
		all[name] = b.Bytes()
	}
	guest("allow", nil, "i64.const 1")
	// A payload of more than 5 bytes is denied: its length is at 60 of the frame.
	guest("short", nil, "i32.const 0x10000 i32.load 2 60 i32.const 5 i32.gt_u if i64 i64.const 3 else i64.const 1 end")
	guest("trap", nil, "unreachable")
	guest("runaway", nil, "loop void br 0 end i64.const 1")
	guest("stranger", func(b *hostile.Builder) { b.Import("env", "exit", "i32 ->") }, "i64.const 1")
	guest("talker", func(b *hostile.Builder) {
		b.Import(abi.Module, abi.FnLog, "i32 i32 i32 ->")
		b.Data(64, "good day")
	}, "i32.const 1 i32.const 64 i32.const 8 call 0 i64.const 1")
	many := instrument.DefaultCaps.Nesting + 1
	deep := strings.Repeat("block void ", many) + strings.Repeat("end ", many) + "i64.const 1"
	guest("nested", nil, deep)
	return all
}
