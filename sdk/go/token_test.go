package chappe

import (
	"testing"
	"time"
)

// The end of a token is reckoned from now where the relay says so. Its clock alone is
// believed only where it tells of a future: ours may be ahead.
func TestEndOfAToken(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		about            string
		expires, fromNow int64
		want             time.Duration // 0: unknown
	}{
		{"never", 0, 0, 0},
		{"both", now.Add(-time.Hour).UnixMilli(), 600_000, 10 * time.Minute},
		{"a relay that is ahead", now.Add(time.Hour).UnixMilli(), 600_000, 10 * time.Minute},
		{"the clock alone", now.Add(time.Hour).UnixMilli(), 0, time.Hour},
		{"past by our clock", now.Add(-time.Second).UnixMilli(), 0, 0},
		{"near by our clock", now.Add(9 * time.Second).UnixMilli(), 0, 0},
		{"for ever, in a way", 0, 1<<63 - 1, maxLife},
	} {
		end := endOf(c.expires, c.fromNow)
		if c.want == 0 != end.IsZero() || c.want != 0 && end.Sub(now).Round(time.Minute) != c.want {
			t.Errorf("%s: %s from now, want %s", c.about, end.Sub(now), c.want)
		}
	}
}
