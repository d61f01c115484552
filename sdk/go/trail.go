package chappe

import "github.com/chappe-relay/chappe/relay/position"

// trail is how far one subscription has come. It exists twice: for what was
// received, which decides where a new connection resumes, and for what the
// application has taken, which is the cursor it may store (CLIENTS §5).
type trail struct {
	sub      string
	tracker  *position.Tracker
	progress string // told by the relay, not in tracker yet
}

func newTrail(sub string) trail {
	return trail{sub: sub, tracker: position.NewTracker()}
}

// begin sets where the stream begins.
func (t *trail) begin(cursor string) error { return t.tracker.Subscribed(t.sub, cursor) }

// message reports false for one that was there before.
func (t *trail) message(channel string, s Stamp) (fresh bool) {
	return t.tracker.Message(t.sub, channel, s)
}

// cursor returns the present place. What the relay tells as progress covers all
// that it told before, so only the newest is read, and only when somebody asks.
// Repeats are noticed without it: they carry ticks of this very subscription.
func (t *trail) cursor() string {
	if t.progress != "" {
		if t.tracker.Progress(t.progress) != nil {
			return t.progress // not of our making: as opaque to us as to anybody
		}
		t.progress = ""
	}
	return t.tracker.Cursor(t.sub)
}
