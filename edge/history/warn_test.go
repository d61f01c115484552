package history

import (
	"slices"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/relay/position"
)

// An operator is warned of what cannot be written while it cannot, of what is missing
// until it is back, and of what is lost.
func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1)
	if w := a.store.Warnings(); len(w) != 0 {
		t.Errorf("all is well: %q", w)
	}
	d := a.store.disk.Load()
	a.store.disk.Store(&disk{d.Disk, refusing{d.js, streamName(9)}})
	m := published("h.one", lane{9, position.Shard("h")}, 1)
	a.store.Save(&m)
	warned := func(part string) bool {
		return slices.ContainsFunc(a.store.Warnings(), func(w string) bool { return strings.Contains(w, part) })
	}
	a.until("nobody is warned", func() bool { return warned("1 nodes or former lives cannot be written") })
	a.store.disk.Store(d)
	a.until("the warning stays", func() bool { return len(a.store.Warnings()) == 0 })
	last := a.publish("h.one", 5)
	a.store.damage(1, 7, errGone)
	if !warned("7 batches") {
		t.Errorf("%q", a.store.Warnings())
	}

	of := lane{1, last.Shard}
	a.store.mu.Lock()
	a.store.harm.lanes[of] = &spans{{1, 3}}
	a.store.mu.Unlock()
	if !warned("3 messages are not back yet") || warned("lost") || warned("batches") {
		t.Errorf("%q", a.store.Warnings())
	}
	a.store.mu.Lock()
	a.store.fillLocked(of, 1)
	a.store.forgoLocked(of, 3)
	a.store.mu.Unlock()
	if !warned("2 messages are lost") || warned("not back") {
		t.Errorf("%q", a.store.Warnings())
	}
}
