package chappe

import (
	"fmt"
	"testing"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

func published(origin position.Origin, id, from, data string) *wire.Msg {
	return &wire.Msg{Channel: "a.b", Stamp: position.Stamp{Origin: origin, Tick: 1}, ID: id, From: from, Data: []byte(data)}
}

// A copy is known by its id, publisher and data, under another origin's stamp.
func TestCopiesAreKnown(t *testing.T) {
	var c copies
	for _, step := range []struct {
		m    *wire.Msg
		copy bool
	}{
		{published(1, "x", "ann", "1"), false},
		{published(2, "x", "ann", "1"), true},
		{published(3, "x", "ann", "1"), true},
		{published(1, "x", "ann", "1"), false}, // the same origin: another publisher's, whose key is not told
		{published(2, "x", "bob", "1"), false},
		{published(2, "x", "ann", "2"), false},
		{published(1, "", "ann", "1"), false},
		{published(2, "", "ann", "1"), false},
	} {
		if got := c.known(step.m); got != step.copy {
			t.Errorf("%+v: copy %v", step.m, got)
		}
	}
}

// What is remembered is bounded; the oldest goes.
func TestCopiesAreBounded(t *testing.T) {
	var c copies
	for i := range 3 * maxCopies {
		c.known(published(1, fmt.Sprint(i), "ann", "1"))
	}
	if len(c.seen) != maxCopies || len(c.ring) != maxCopies {
		t.Errorf("%d, %d", len(c.seen), len(c.ring))
	}
	if !c.known(published(2, fmt.Sprint(3*maxCopies-1), "ann", "1")) || c.known(published(2, "0", "ann", "1")) {
		t.Error("not the newest are remembered")
	}
}
