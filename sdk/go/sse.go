package chappe

import (
	"fmt"
	"mime"

	"github.com/chappe-relay/chappe/relay/wire"
)

const eventStreamType = "text/event-stream"

// events reads one event stream to its end. The id of each event is the place
// behind it, for all subscriptions.
func (t *stream) events(o *opening) (loss, bool) {
	resp, end, again := t.get(o, "/v1/sse", eventStreamType)
	if resp == nil {
		return end, again
	}
	defer resp.Body.Close()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != eventStreamType {
		return loss{err: fmt.Errorf("%s answers with %q, not an event stream", o.v.base, kind)}, false
	}
	o.dog.watch(silence)
	in := newEventStream(patted{resp.Body, o.dog}, maxFrame)
	in.id = o.cursor
	for {
		b, err := in.next()
		if in.retry > 0 {
			t.retry = in.retry
		}
		if err != nil {
			return t.cut(o, fmt.Errorf("stream of %s lost: %w", o.v.base, err)), false
		}
		if b.id != "" {
			t.stand(o) // from now on there is a place to come back to
		}
		if b.data != nil {
			end, over, err := t.event(o, b)
			if err != nil {
				return loss{err: err}, false
			}
			if over {
				return end, false
			}
		}
		t.alive(o)
		if b.id != "" {
			t.moved(b.id)
		}
	}
}

// event acts on one event. Its data is a frame, whatever its name: a message
// that was published with an event name comes under that.
func (t *stream) event(o *opening, b block) (end loss, over bool, err error) {
	frames, err := wire.DecodeJSON(b.data, wire.FromServer)
	if err != nil {
		return loss{}, false, fmt.Errorf("an event of %s: %w", o.v.base, err)
	}
	for _, f := range frames {
		if end, over = t.handle(o, f); over {
			break
		}
	}
	return end, over, nil
}

// cut is the loss of a stream that ended. What the relay said last counts, then
// the retry field: the relay draws it per client, so it is not spread again.
func (t *stream) cut(o *opening, err error) loss {
	if o.last != nil {
		end := lossOfError(o.last)
		if end.delay == 0 {
			end.delay = t.retry
		}
		return end
	}
	return loss{err: err, delay: t.retry}
}
