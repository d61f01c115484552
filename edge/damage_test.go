package edge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// has returns what a node has of a channel.
func (n *regionNode) has(channel string) (out []string) {
	n.t.Helper()
	res, err := http.Get(n.url("/v1/channels/" + channel + "/messages?last=1000"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	var page struct {
		Messages []struct{ Data json.RawMessage }
	}
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		n.t.Fatal(err)
	}
	for _, m := range page.Messages {
		out = append(out, strings.Trim(string(m.Data), `"`))
	}
	return out
}

// metric returns a metric without labels.
func (n *regionNode) metric(name string) (value float64) {
	n.t.Helper()
	res, err := http.Get("http://" + n.node.AdminAddr().String() + "/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			fmt.Sscan(rest, &value)
		}
	}
	return value
}

// until waits for something.
func (n *regionNode) until(not string, ok func() bool) {
	n.t.Helper()
	for late := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			n.t.Fatalf("%s\n%s", not, n.logs)
		}
	}
}

// flip changes one bit of a message in the files of a node that is not running.
func (n *regionNode) flip(needle string) {
	n.t.Helper()
	hit := 0
	filepath.WalkDir(n.cfg.Data, func(path string, _ fs.DirEntry, _ error) error {
		b, err := os.ReadFile(path)
		if i := bytes.Index(b, []byte(needle)); err == nil && i >= 0 && strings.HasSuffix(path, ".blk") {
			b[i] ^= 1
			hit++
			return os.WriteFile(path, b, 0o600)
		}
		return nil
	})
	if hit != 1 {
		n.t.Fatalf("%q is in %d files", needle, hit)
	}
}

// One bit in the middle of a copy: the others have what is there, whether the node
// that said it lives or not. The copy is whole again, also for the next start, and
// nobody is told of a loss.
func TestDamageIsRepairedByOthers(t *testing.T) {
	for _, alive := range []bool{true, false} {
		t.Run(fmt.Sprintf("origin alive %v", alive), func(t *testing.T) {
			w := newRegions(t, "a", "b", "c")
			a, b := w.nodes["a"], w.nodes["b"]
			const n = 100
			for i := range n {
				a.mustPublish("h.one", fmt.Sprintf("needle-%03d", i), "replicated", "")
			}
			for _, other := range []string{"b", "c"} {
				w.nodes[other].until("it is not copied", func() bool { return len(w.nodes[other].has("h.one")) == n })
			}
			b.stop()
			b.flip("needle-050")
			if !alive {
				a.stop()
			}
			b.start()
			b.until("what the others have does not come", func() bool { return len(b.has("h.one")) == n })
			b.until("it is not counted", func() bool { return b.metric("chappe_history_filled_messages") >= 1 })
			if missing := b.metric("chappe_history_missing_messages"); missing != 0 || b.metric("chappe_history_damaged_batches_total") == 0 {
				t.Errorf("%v are missing", missing)
			}
			for _, line := range []string{"history is damaged", "history was damaged"} {
				b.until("the log does not say it: "+line, func() bool { return strings.Contains(b.logs.String(), line) })
			}
			b.stop()
			b.start()
			b.until("it is not there at the next start", func() bool { return len(b.has("h.one")) == n })
			for i, data := range b.has("h.one") {
				if data != fmt.Sprintf("needle-%03d", i) {
					t.Fatalf("%d is %s", i, data)
				}
			}
			if filled := b.metric("chappe_history_filled_messages"); filled != 0 {
				t.Errorf("filled again: %v", filled)
			}
		})
	}
}

// What a node that is alone has lost with its store is in /readyz: nobody brings it
// back.
func TestDamageIsAWarning(t *testing.T) {
	w := newRegions(t, "a")
	a := w.nodes["a"]
	for i := range 20 {
		a.mustPublish("h.one", fmt.Sprintf("needle-%03d", i), "stored", "")
	}
	if _, body := fetch(t, a.node.AdminAddr(), "/readyz"); strings.Contains(body, "history") {
		t.Errorf("nothing is damaged: %s", body)
	}
	a.stop()
	a.flip("needle-010")
	a.start()
	a.until("/readyz does not warn", func() bool {
		code, body := fetch(t, a.node.AdminAddr(), "/readyz")
		return code == 200 && strings.Contains(body, "the store of history was damaged, and 1 messages are lost")
	})
}
