package history

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func quietly(dir string) Config {
	return Config{Dir: dir, Node: "eu.n1", Age: time.Hour, Logger: slog.New(slog.DiscardHandler)}
}

// Two processes on one store would write over each other: the second does not start.
func TestOneProcessOnAStore(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1)
	a.publish("h.one", 10)
	if _, err := Open(quietly(dir)); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second one opens it: %v", err)
	}
	a.publish("h.one", 10)
	a.node.Close()
	a.end()
	b := live(t, dir, 2)
	if got := b.read("h.one"); len(got) != 20 {
		t.Errorf("%d messages", len(got))
	}
}

// What cannot be a store is put aside, and nothing is thrown away.
func TestWhatIsNoStoreIsPutAside(t *testing.T) {
	for _, at := range []string{"jetstream", "jetstream/$G", "jetstream/$G/streams"} {
		dir := t.TempDir()
		file := filepath.Join(dir, filepath.FromSlash(at))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("what is this"), 0o600); err != nil {
			t.Fatal(err)
		}
		a := live(t, dir, 1)
		a.publish("h.one", 1)
		if aside, _ := filepath.Glob(filepath.Join(dir, "jetstream.damaged-*")); len(aside) != 1 || a.store.counts.damaged.Load() != 1 || !a.logs.has("damaged") {
			t.Errorf("%s: aside %v, damaged %d", at, aside, a.store.counts.damaged.Load())
		}
		a.end()
	}
}
