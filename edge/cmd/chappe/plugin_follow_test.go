package main

import (
	"bufio"
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/api"
	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Lines are printed as they come, where some were cut it says so, and the end of
// the command is not an error.
func TestLogsAreFollowed(t *testing.T) {
	loader, err := engine.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := plugins.Open(t.Context(), plugins.Config{Dir: t.TempDir(), Dev: true, Loader: loader})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(api.Handler(h, nil))
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	if _, _, err := h.Push(t.Context(), &manifest.Bundle{Manifest: []byte(`{"name":"talker","abi":1,"serial":1,"capabilities":["log"]}`), Wasm: guests()["talker"]}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Bind(t.Context(), "talker", policy.Digest{}, []string{"rides.>"}, 0); err != nil {
		t.Fatal(err)
	}
	talk := func(n int) {
		for range n {
			if err := h.Publish(&policy.Client{}, &wire.Pub{Channel: "rides.1"}, func(*policy.Publication) {}); err != nil {
				t.Fatal(err)
			}
		}
	}
	talk(1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"chappe", "plugin", "logs", "-f", "-admin", s.URL, "talker"}, func(string) string { return "" }, nil, w, w)
		w.Close()
	}()
	out := bufio.NewScanner(r)
	next := func() string {
		if !out.Scan() {
			t.Fatalf("the output ended: %v", out.Err())
		}
		return out.Text()
	}
	if line := next(); !strings.HasSuffix(line, "info    good day") {
		t.Errorf("the line that was there: %q", line)
	}
	talk(1)
	if line := next(); !strings.HasSuffix(line, "info    good day") {
		t.Errorf("the line that came: %q", line)
	}
	// The burst is 200 lines: of these, some are cut, and the first line that is
	// taken again says so. We read as we write, for a pipe holds nothing.
	told := make(chan bool)
	go func() {
		cut := false
		for !cut && out.Scan() {
			cut = strings.Contains(out.Text(), "cut here --")
		}
		told <- cut
		io.Copy(io.Discard, r)
	}()
	for cut := false; !cut; {
		talk(500)
		select {
		case cut = <-told:
			if !cut {
				t.Fatal("nothing said that lines were cut")
			}
		default:
		}
	}
	cancel()
	if c := <-code; c != exitOK {
		t.Errorf("exit %d", c)
	}
}
