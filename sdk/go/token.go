package chappe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// credentials are what the client shows: a token, and on a WebSocket the resume
// ticket of an earlier session, which costs the relay less than a token.
type credentials struct {
	source func(ctx context.Context) (string, error)
	turn   chan struct{} // capacity 1: holding it is owning the fields below, also across source

	token    string // with a source: "" when a new one is due
	ends     time.Time
	ticket   string
	byTicket bool // the last attempt showed the ticket
}

func (a *credentials) lock(ctx context.Context) error {
	select {
	case a.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *credentials) unlock() { <-a.turn }

// show returns what to present to a relay: a ticket or a token, or neither.
func (a *credentials) show(ctx context.Context) (token, ticket string, err error) {
	if err := a.lock(ctx); err != nil {
		return "", "", err
	}
	defer a.unlock()
	over := !a.ends.IsZero() && !time.Now().Before(a.ends)
	a.byTicket = a.ticket != "" && !over
	if a.byTicket {
		return "", a.ticket, nil
	}
	if over && a.source != nil {
		a.token = ""
	}
	token, err = a.present(ctx)
	return token, "", err
}

// bearer returns a token for a plain request.
func (a *credentials) bearer(ctx context.Context) (string, error) {
	if err := a.lock(ctx); err != nil {
		return "", err
	}
	defer a.unlock()
	return a.present(ctx)
}

// fresh brings a new token in any case. The ticket, which speaks of the old
// one's grants, is not shown again.
func (a *credentials) fresh(ctx context.Context) (string, error) {
	if err := a.lock(ctx); err != nil {
		return "", err
	}
	defer a.unlock()
	a.token, a.ticket = "", ""
	return a.present(ctx)
}

// renew brings a token other than old; unless somebody else has done so already.
func (a *credentials) renew(ctx context.Context, old string) (string, error) {
	if err := a.lock(ctx); err != nil {
		return "", err
	}
	defer a.unlock()
	if a.source != nil && a.token == old {
		a.token = ""
	}
	return a.present(ctx)
}

func (a *credentials) present(ctx context.Context) (string, error) {
	if a.token != "" || a.source == nil {
		return a.token, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	token, err := a.source(ctx)
	if err != nil {
		return "", fmt.Errorf("token source: %w", err)
	}
	if token == "" {
		return "", errors.New("token source: an empty token")
	}
	a.token, a.ends = token, time.Time{}
	return token, nil
}

// near is an end that is not believed where it is told by the relay's clock alone:
// ours may be ahead of that.
const near = 10 * time.Second

// endOf returns when credentials end: zero for never, and where it is not known.
func endOf(expires, fromNow int64) time.Time {
	if fromNow > 0 {
		return time.Now().Add(time.Duration(min(fromNow, maxLife.Milliseconds())) * time.Millisecond)
	}
	if end := time.UnixMilli(expires); time.Until(end) > near {
		return end
	}
	return time.Time{}
}

// maxLife bounds the arithmetic, not the tokens.
const maxLife = 100 * 365 * 24 * time.Hour

// accepted records what a relay said of the credentials.
func (a *credentials) accepted(ticket string, ends time.Time) {
	a.turn <- struct{}{}
	defer a.unlock()
	if ticket != "" {
		a.ticket = ticket
	}
	a.ends = ends
}

// refused records that the last credentials were refused. It reports whether
// there are others to try.
func (a *credentials) refused() bool {
	a.turn <- struct{}{}
	defer a.unlock()
	if a.byTicket {
		a.ticket, a.byTicket = "", false
		return true
	}
	a.ticket = ""
	if a.source == nil {
		return false
	}
	a.token = ""
	return true
}

// renewal returns how long before the credentials' end to bring new ones: a
// random moment in the last minute, or in the last quarter of a short life.
func (c *Client) renewal(ends time.Time) (in time.Duration, due bool) {
	if ends.IsZero() || c.o.TokenSource == nil {
		return 0, false
	}
	left := time.Until(ends)
	margin := min(time.Minute, left/4)
	return max(time.Second, left-margin+c.jitter(margin/2)), true
}
