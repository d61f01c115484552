package edge

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// More history than memory holds: who resumes, rewinds or asks for a page gets what
// the disk has, in order and without a gap, also at a node that has just begun.
func TestHistoryBeyondMemory(t *testing.T) {
	w := prepare(t, "a")
	a := w.nodes["a"]
	a.cfg.Memory, a.cfg.Limits.Rate, a.cfg.Limits.Burst = 8<<20, 100_000, 100_000
	a.cfg.Namespaces["h"].Bytes = 64 << 20
	a.start()
	const n, size = 20, 60_000 // in memory each counts three times
	say := func(channel string, i int) {
		level := "local"
		if i == n-1 {
			level = "stored"
		}
		a.mustPublish(channel, fmt.Sprintf("%s-%02d-%s", channel, i, strings.Repeat("x", size)), level, "")
	}
	check := func(channel string, got []string, from int) {
		t.Helper()
		if len(got) != n-from {
			t.Fatalf("%s: %d of %d", channel, len(got), n-from)
		}
		for i, data := range got {
			if want := fmt.Sprintf("%s-%02d-", channel, from+i); !strings.HasPrefix(data, want) {
				t.Fatalf("%s: %d is %.20s", channel, i, data)
			}
		}
	}
	say("h.resumed", 0)
	_, id := a.follow(url.Values{"channel": {"h.resumed"}, "last": {"1"}}, "", 1)
	for _, channel := range []string{"h.resumed", "h.rewound", "h.page", "h.other", "h.another", "h.third"} {
		for i := range n {
			if channel != "h.resumed" || i > 0 {
				say(channel, i)
			}
		}
	}
	read := func() {
		t.Helper()
		got, _ := a.follow(channels("h.resumed"), id, n-1)
		check("h.resumed", got, 1)
		got, _ = a.follow(url.Values{"channel": {"h.rewound"}, "last": {"100"}}, "", n)
		check("h.rewound", got, 0)
		check("h.page", a.has("h.page"), 0)
		if back := a.metric("chappe_log_read_messages_total"); back < 3*n-1 {
			t.Errorf("%v were read back", back)
		}
		if bytes := a.metric("chappe_log_bytes"); bytes > float64(a.cfg.Memory) {
			t.Errorf("%v bytes of memory", bytes)
		}
	}
	read()
	a.stop()
	a.start()
	read()
}
