package chappe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/chappe-relay/chappe/relay/wire"
)

// call is a plain request that may be made more than once.
type call struct {
	method string
	path   string // from /v1 on, escaped
	query  url.Values
	header http.Header
	body   []byte
}

// postMessage publishes over HTTP.
func (c *Client) postMessage(ctx context.Context, p *wire.Pub) (*wire.Ack, error) {
	h := http.Header{"Content-Type": {"application/octet-stream"}, "Chappe-Id": {p.ID}}
	if p.Key != "" {
		h.Set("Chappe-Key", p.Key)
	}
	if p.Event != "" {
		h.Set("Chappe-Event", p.Event)
	}
	if p.TTL > 0 {
		h.Set("Chappe-Ttl", strconv.FormatInt(p.TTL, 10))
	}
	if p.Quiet {
		session, missing := c.session()
		if missing {
			return nil, &Error{Code: wire.CodeNoSession, Text: "the stream that must not get the message is not live"}
		}
		if session != "" {
			h.Set("Chappe-Session", session)
		}
	}
	f, err := c.call(ctx, call{method: http.MethodPost, path: channelPath(p.Channel, "messages"), header: h, body: slices.Clone(p.Data)}) // net/http may read on after it gave up
	if err != nil {
		return nil, err
	}
	ack, ok := f.(*wire.Ack)
	if !ok {
		return nil, unexpected(f)
	}
	return ack, nil
}

// session returns the session of the stream; missing, if there should be one.
func (c *Client) session() (id string, missing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Session, c.state.Session == "" && len(c.subs) > 0
}

// get asks for history or presence over HTTP.
func (c *Client) get(ctx context.Context, f wire.Frame) (wire.Frame, error) {
	switch f := f.(type) {
	case *wire.History:
		q := url.Values{}
		if f.Cursor != "" {
			q.Set("cursor", f.Cursor)
		} else if f.Last > 0 {
			q.Set("last", strconv.Itoa(f.Last))
		}
		if f.Limit > 0 {
			q.Set("limit", strconv.Itoa(f.Limit))
		}
		return c.call(ctx, call{method: http.MethodGet, path: channelPath(f.Channel, "messages"), query: q})
	case *wire.PresenceReq:
		return c.call(ctx, call{method: http.MethodGet, path: channelPath(f.Channel, "presence")})
	}
	return nil, unexpected(f)
}

func channelPath(channel, of string) string {
	return "/v1/channels/" + url.PathEscape(channel) + "/" + of
}

// call makes a request, and makes it again while the network or something
// between us and the relay fails, until ctx ends. A refusal is an *Error.
func (c *Client) call(ctx context.Context, r call) (wire.Frame, error) {
	c.mu.Lock()
	err := c.usableLocked()
	base := c.base
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	renewed := false
	for try := 0; ; try++ {
		token, err := c.auth.bearer(ctx)
		if err != nil {
			return nil, err
		}
		f, end := c.once(ctx, base, token, r)
		if end.err == nil {
			return f, nil
		}
		var refused *Error
		coded := errors.As(end.err, &refused) && refused.Code != ""
		switch {
		case end.auth && c.o.TokenSource != nil && !renewed:
			renewed = true
			if _, err := c.auth.renew(ctx, token); err != nil {
				return nil, err
			}
			continue
		case coded:
			return nil, refused
		case refused == nil: // nobody answered
			base = c.after(base)
		}
		delay := end.delay
		if delay == 0 {
			delay = c.jitter(min(backoffCap, backoffBase<<min(try, 10)))
		}
		if !c.sleep(ctx, delay) {
			if c.ended() {
				return nil, ErrClosed
			}
			return nil, fmt.Errorf("%s %s: %w (%w)", r.method, r.path, ctx.Err(), end.err)
		}
	}
}

// once makes a request one time.
func (c *Client) once(ctx context.Context, base, token string, r call) (wire.Frame, loss) {
	patience := connectTimeout
	if len(c.home) > 1 {
		patience = elsewhere
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	target := base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, loss{err: err}
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", agent)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, loss{err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, lossOfResponse(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame+1))
	switch {
	case err != nil:
		return nil, loss{err: err}
	case len(body) > maxFrame:
		return nil, loss{err: &Error{Code: wire.CodeTooBig, Text: "the answer of the relay"}}
	}
	frames, err := wire.DecodeJSON(body, wire.FromServer)
	if err != nil || len(frames) != 1 {
		return nil, loss{err: &Error{Code: wire.CodeBadFrame, Text: fmt.Sprintf("the answer of the relay is no frame: %v", err)}}
	}
	return frames[0], loss{}
}

// after returns the relay to ask when base does not answer.
func (c *Client) after(base string) string {
	for i, u := range c.home {
		if u == base {
			return c.home[(i+1)%len(c.home)]
		}
	}
	return c.home[0]
}
