package chappe

import (
	"context"
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/relay/wire"
)

// Ack says that the relay has accepted a message.
type Ack struct {
	Stamp Stamp
	Dup   bool // the id was known: Stamp is that of the first copy
}

// Publish publishes one message and waits until the relay has it. A message
// without ID gets one, so that it is safe to send again when the connection is
// lost on the way; that goes on until ctx ends. A relay that is draining or
// overloaded is asked again when it says; any other refusal is an *Error.
func (c *Client) Publish(ctx context.Context, channel string, m Message) (Ack, error) {
	if m.ID == "" {
		m.ID = c.newID()
	}
	pub := &wire.Pub{
		Channel: channel, ID: m.ID, Key: m.Key, Event: m.Event,
		TTL: m.TTL.Milliseconds(), Quiet: m.Quiet, Data: m.Data,
	}
	if m.TTL > 0 && pub.TTL == 0 {
		pub.TTL = 1 // 0 on the wire is no limit
	}
	for try := 0; ; try++ {
		ack, err := c.publish(ctx, pub)
		if err == nil {
			return Ack{Stamp: ack.Stamp, Dup: ack.Dup}, nil
		}
		var no *Error
		if !errors.As(err, &no) || !passes(no.Code, m.Quiet) {
			return Ack{}, err
		}
		delay := no.Retry
		if delay <= 0 {
			delay = c.jitter(min(backoffCap, backoffBase<<min(try, 10)))
		}
		if !c.sleep(ctx, delay) {
			if c.ended() {
				return Ack{}, ErrClosed
			}
			return Ack{}, fmt.Errorf("publish to %s: %w (%w)", channel, ctx.Err(), no)
		}
	}
}

// passes reports whether a refusal is over in a moment. A quiet message is sent
// in the name of the stream's session, which may just be coming back.
func passes(code Code, quiet bool) bool {
	return code == wire.CodeDraining || code == wire.CodeOverloaded || quiet && code == wire.CodeNoSession
}

func (c *Client) publish(ctx context.Context, pub *wire.Pub) (*wire.Ack, error) {
	if _, ok := c.transport.(*stream); ok {
		return c.postMessage(ctx, pub)
	}
	f, err := c.ask(ctx, pub)
	if err != nil {
		return nil, err
	}
	ack, ok := f.(*wire.Ack)
	if !ok {
		return nil, unexpected(f)
	}
	return ack, nil
}

// newID returns an idempotency id: 128 random bits.
func (c *Client) newID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%016x%016x", c.rand.Uint64(), c.rand.Uint64())
}

func unexpected(f wire.Frame) error {
	return &Error{Code: wire.CodeBadFrame, Text: fmt.Sprintf("the relay answered with %T", f)}
}

// HistoryOptions choose a page of a channel's history.
type HistoryOptions struct {
	Cursor string // messages after this; it wins over Last
	Last   int    // the newest N
	Limit  int    // at most this many in the page; 0: as many as the relay gives
}

// Page is a part of a channel's history, oldest first.
type Page struct {
	Messages []Message
	Cursor   string // of the next page, or of a subscription that continues here
	More     bool
	Gap      *Gap // messages after the given cursor are no longer kept
}

// History returns a page of what the relay keeps of a channel.
func (c *Client) History(ctx context.Context, channel string, o HistoryOptions) (Page, error) {
	h := &wire.History{Channel: channel, Cursor: o.Cursor, Last: o.Last, Limit: o.Limit}
	f, err := c.read(ctx, h)
	if err != nil {
		return Page{}, err
	}
	got, ok := f.(*wire.HistoryPage)
	if !ok {
		return Page{}, unexpected(f)
	}
	page := Page{Cursor: got.Cursor, More: got.More, Messages: make([]Message, len(got.Messages))}
	for i := range got.Messages {
		page.Messages[i] = *message(&got.Messages[i])
	}
	if got.Gap != nil {
		page.Gap = eventOf(got.Gap, false).(*Gap)
	}
	return page, nil
}

// Presence returns who is in a channel.
func (c *Client) Presence(ctx context.Context, channel string) ([]Member, error) {
	f, err := c.read(ctx, &wire.PresenceReq{Channel: channel})
	if err != nil {
		return nil, err
	}
	got, ok := f.(*wire.Presence)
	if !ok {
		return nil, unexpected(f)
	}
	return got.Members, nil
}

// read asks for something that may be asked twice.
func (c *Client) read(ctx context.Context, f wire.Frame) (wire.Frame, error) {
	if _, ok := c.transport.(*stream); ok {
		return c.get(ctx, f)
	}
	return c.ask(ctx, f)
}
