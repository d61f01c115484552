package chappe

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// hold is how long a relay holds a poll, with time for the way there and back.
const hold = 25*time.Second + connectTimeout

// answer is the body of a poll.
type answer struct {
	Frames  []json.RawMessage `json:"frames"`
	Cursor  string            `json:"cursor"`
	Retry   int64             `json:"retry_ms"`
	Session string            `json:"session"`
}

// batch makes one poll.
func (t *stream) batch(o *opening) (loss, bool) {
	if o.cursor != "" {
		o.query.Set("cursor", o.cursor)
	}
	o.query.Set("session", t.session) // empty: begin one
	o.dog.watch(hold)
	resp, end, again := t.get(o, "/v1/poll", "application/json")
	if resp == nil {
		return end, again
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(patted{resp.Body, o.dog}, maxFrame+1))
	if err != nil {
		return loss{err: fmt.Errorf("poll of %s: %w", o.v.base, err)}, false
	}
	var a answer
	if len(body) > maxFrame {
		return loss{err: errBlockTooBig}, false
	} else if err := json.Unmarshal(body, &a); err != nil {
		return loss{err: fmt.Errorf("poll of %s: %w", o.v.base, err)}, false
	}
	frames := make([]wire.Frame, 0, len(a.Frames))
	for _, raw := range a.Frames {
		f, err := wire.DecodeJSON(raw, wire.FromServer)
		if err != nil {
			return loss{err: fmt.Errorf("poll of %s: %w", o.v.base, err)}, false
		}
		frames = append(frames, f...)
	}
	o.dog.stop() // the relay has spoken; what follows is ours
	t.session = a.Session
	t.alive(o)
	t.grant(o, frames)
	for _, f := range frames {
		if end, over := t.handle(o, f); over {
			return end, false
		}
	}
	if a.Cursor != "" {
		t.moved(a.Cursor)
	}
	if o.last != nil {
		return lossOfError(o.last), false
	}
	if o.drained {
		t.rest(o, o.drain)
		return loss{err: errDrained, drained: true, moved: o.moved}, false
	}
	t.rest(o, advice(a.Retry))
	return loss{}, true
}

// grant finds out what stands before the messages of an answer are handed out.
// An answer follows all that was asked for, but for what it refuses; it says so
// (subbed) only where a session begins.
func (t *stream) grant(o *opening, frames []wire.Frame) {
	said := make(map[string]bool)
	for _, f := range frames {
		switch f := f.(type) {
		case *wire.Subbed:
			t.admitted(f)
			o.granted = append(o.granted, f)
			said[f.Channel] = true
		case *wire.Err:
			said[f.Channel] = true
		}
	}
	for _, s := range o.subs {
		if !said[s.name] {
			o.granted = append(o.granted, &wire.Subbed{Channel: s.name, Cursor: o.cursor})
		}
	}
	t.stand(o)
}

// rest waits between two polls, as the relay asked.
func (t *stream) rest(o *opening, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-o.ctx.Done():
	}
}
