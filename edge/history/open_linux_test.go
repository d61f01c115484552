package history

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A store that may not be written now is whole, for all one knows: the start ends
// with the reason, and everything stays where it is.
func TestWhatMayBeWholeStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file system of its own needs root")
	}
	dir := t.TempDir()
	at := filepath.Join(dir, "jetstream")
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("a file system of its own cannot be mounted: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(at, syscall.MNT_DETACH) })
	a := live(t, dir, 1)
	a.publish("h.one", 100)
	a.node.Close()
	a.end()
	if err := syscall.Mount("tmpfs", at, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(quietly(dir)); err == nil || !strings.Contains(err.Error(), "not writable") {
		if err == nil {
			s.Close()
		}
		t.Errorf("opened: %v", err)
	}
	if err := syscall.Mount("tmpfs", at, "tmpfs", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	b := live(t, dir, 2)
	if got := b.read("h.one"); len(got) != 100 {
		t.Errorf("%d messages", len(got))
	}
}
