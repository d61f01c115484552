package faults

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/url"
	"time"
)

// polls asks again and again, now and then another node.
func (r *reader) polls(ctx context.Context) error {
	if err := r.try(ctx, "/v1/poll"); err != nil {
		return err
	}
	for range 10 + rand.N(20) {
		began := time.Now()
		wait, err := r.poll(ctx)
		if err != nil {
			return err
		}
		sleep(ctx, max(wait, 200*time.Millisecond-time.Since(began)))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errRoams
}

func (r *reader) poll(ctx context.Context) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.dead)
	defer cancel()
	more := url.Values{"wait": {"1"}}
	if r.cursor != "" {
		more.Set("cursor", r.cursor)
	}
	req, err := r.request(ctx, "/v1/poll", r.seat.name, more)
	if err != nil {
		return 0, err
	}
	res, err := r.short.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return 0, refused(res)
	}
	var a struct {
		Frames json.RawMessage `json:"frames"`
		Cursor string          `json:"cursor"`
		Retry  int64           `json:"retry_ms"`
	}
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		return 0, err
	}
	if err := r.said(a.Frames, func(error) {}); err != nil { // of a drain the next poll is told by its status
		return 0, err
	}
	r.cursor = a.Cursor
	return time.Duration(a.Retry) * time.Millisecond, nil
}
