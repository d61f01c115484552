package faults

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
	"github.com/chappe-relay/chappe/relay/wire"
)

// request asks for the stream of a channel or pattern.
func (r *reader) request(ctx context.Context, path string, name string, more url.Values) (*http.Request, error) {
	query := url.Values{"channel": {name}}
	for key, values := range more {
		query[key] = values
	}
	if r.policy != "" {
		query.Set("policy", r.policy)
	}
	req, err := http.NewRequestWithContext(ctx, "GET", r.door().url+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", r.agent())
	if r.grant != "" {
		req.Header.Set("Authorization", "Bearer "+r.tokens(r.grant))
	}
	return req, nil
}

// try asks for what it may not have. A relay that gives it is reported.
func (r *reader) try(ctx context.Context, path string) error {
	if r.tries == "" {
		return nil
	}
	req, err := r.request(ctx, path, r.tries, nil)
	if err != nil {
		return err
	}
	res, err := r.streams.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	e := check.Event{Who: r.name, Do: check.Refused, Channel: r.tries, Node: r.door().node}
	switch {
	case res.StatusCode == http.StatusOK:
		e.Do, e.How = check.Subscribed, check.Fresh
	case res.StatusCode != http.StatusForbidden:
		return nil // not now
	}
	r.j.add(e)
	return nil
}

// events reads an EventSource's stream.
func (r *reader) events(ctx context.Context, end context.CancelCauseFunc) error {
	quiet := r.listen(end)
	defer quiet.t.Stop()
	if err := r.try(ctx, "/v1/sse"); err != nil {
		return err
	}
	req, err := r.request(ctx, "/v1/sse", r.seat.name, nil)
	if err != nil {
		return err
	}
	if r.cursor != "" {
		req.Header.Set("Last-Event-ID", r.cursor)
	}
	client := r.streams
	if r.slow {
		client = r.lazy
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return refused(res)
	}
	sc := bufio.NewScanner(res.Body)
	sc.Buffer(nil, 4<<20)
	id, data := "", ""
	for sc.Scan() {
		quiet.heard()
		key, value, _ := strings.Cut(sc.Text(), ": ")
		switch key {
		case "id":
			id = value
		case "data":
			data = value
		case "retry":
			ms, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			r.retry = time.Duration(ms) * time.Millisecond
		case "":
			if data != "" {
				if err := r.said([]byte(data), end); err != nil {
					return err
				}
			}
			if id != "" {
				r.cursor = id
			}
			id, data = "", ""
		}
	}
	if err := sc.Err(); err != nil {
		return err
	}
	return told(r.retry.Milliseconds(), http.ErrServerClosed) // as an EventSource waits, however the stream ended
}

// said acts on frames in JSON.
func (r *reader) said(b []byte, end context.CancelCauseFunc) error {
	fs, err := wire.DecodeJSON(b, wire.FromServer)
	if err != nil {
		return err
	}
	for _, f := range fs {
		if err := r.frame(f, end); err != nil {
			return err
		}
	}
	return nil
}
