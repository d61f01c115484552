package relay_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/namespace"
)

// The defaults that the protocol document promises are those in force.
func TestDocumentTellsTheDefaults(t *testing.T) {
	raw, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(raw), "\n## 9. ")
	if !ok {
		t.Fatal("no section 9")
	}
	rows := map[string]string{}
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, " | "); len(cells) >= 2 && strings.HasPrefix(line, "| ") {
			rows[strings.TrimPrefix(cells[0], "| ")] = cells[1]
		}
	}
	l, ns := relay.Limits{}.Filled(), namespace.Options{History: true}.Filled()
	kib := func(n int) string { return fmt.Sprint(n>>10) + " KiB" }
	mib := func(n int64) string { return fmt.Sprint(n>>20) + " MiB" }
	span := func(d time.Duration) string {
		switch {
		case d%time.Hour == 0:
			return fmt.Sprintf("%d h", d/time.Hour)
		case d%time.Minute == 0:
			return fmt.Sprintf("%d min", d/time.Minute)
		}
		return fmt.Sprintf("%d s", d/time.Second)
	}
	for row, want := range map[string]string{
		"payload": kib(l.Message) + "; less where the namespace says so",
		"message of a WebSocket client; body of a POST of frames or of a batch": kib(l.Frame) + "; 1 MiB",
		"subscriptions of a connection":                                         fmt.Sprint(l.Subs),
		"publishing of a connection; over HTTP, of a user or address":           fmt.Sprintf("%d/s, %d at once; API keys are not limited", l.Rate, l.Burst),
		"messages of a batch, and of a history page":                            fmt.Sprint(l.Batch),
		"answers that a client leaves unread":                                   kib(l.Control),
		"history of a channel, where the namespace keeps one":                   fmt.Sprintf("%d messages, %s, %s", ns.Entries, mib(ns.Bytes), span(ns.Age)),
		"kept of a channel without history, for short reconnects":               fmt.Sprintf("%d messages, %s, %s", namespace.LiveEntries, mib(namespace.LiveBytes), span(namespace.LiveAge)),
		"members listed in a channel":                                           strings.TrimSuffix(fmt.Sprint(ns.Members), "000") + ",000",
		"first frame":                                                           span(l.Hello),
		"`ping_ms`, `dead_ms`":                                                  span(l.Ping) + ", " + span(l.Dead),
		"`reconnect_ms`":                                                        span(l.Reconnect),
		"hold of a poll":                                                        span(l.PollHold),
		"resume ticket":                                                         span(auth.MaxAge) + ", and not beyond the token",
		"idempotency window":                                                    span(l.Idempotency) + ", bounded by memory",
		"connections of a node":                                                 "1,048,576",
	} {
		if rows[row] != want {
			t.Errorf("%s: the document says %q, the code %q", row, rows[row], want)
		}
	}
	if l.Connections != 1_048_576 {
		t.Errorf("connections of a node: %d", l.Connections)
	}
}
