package history

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/wire"
)

// A full disk: what cannot be stored is refused with a code, and soon; memory and
// live delivery go on; when there is room again all is stored that still waits,
// and what was acknowledged is there in the next life.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file system of a few megabytes needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("a file system of a few megabytes cannot be mounted: %v", err)
	}
	unmount := func() { syscall.Unmount(dir, syscall.MNT_DETACH) }
	t.Cleanup(unmount)
	a := live(t, dir, 1, func(c *Config) { c.Ack = 2 * time.Second })
	acked := map[string]bool{}
	body := make([]byte, 64<<10)
	refused := ""
	n := 0
	for ; n < 400 && refused == ""; n++ {
		if err := a.store.Check(false); err != nil {
			refused = string(err.Code)
			break
		}
		copy(body, fmt.Sprintf("%06d", n))
		r := a.node.Publish(node.Publication{Msg: wire.Msg{Channel: "h.one", Data: append([]byte(nil), body...)}})
		done := make(chan *wire.Err, 1)
		a.store.Await(r, false, func(err *wire.Err) { done <- err })
		if err := <-done; err != nil {
			refused = string(err.Code)
		} else {
			acked[string(body[:6])] = true
		}
	}
	if refused != "ack_timeout" && refused != "overloaded" {
		t.Fatalf("after %d messages on a disk of 6 MiB: refused %q", n, refused)
	}
	if len(acked) == 0 {
		t.Fatal("nothing was stored")
	}
	if !a.fails() || !a.logs.has("history cannot be written") {
		t.Error("nobody is told")
	}
	if got := a.read("h.one"); len(got) < n {
		t.Errorf("live delivery has stopped: %d of %d", len(got), n)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); a.fails(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it does not heal:\n%s", a.logs.text.String())
		}
	}
	a.publish("h.two", 5)
	a.node.Close()
	a.end()
	b := live(t, dir, 2)
	there := map[string]bool{}
	for _, s := range b.read("h.one") {
		there[s[:6]] = true
	}
	for id := range acked {
		if !there[id] {
			t.Errorf("%s was acknowledged and is gone", id)
		}
	}
	if got := b.read("h.two"); len(got) != 5 {
		t.Errorf("%d messages after the heal", len(got))
	}
	b.end()
}
