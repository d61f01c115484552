package chappe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	probeTime  = 3 * time.Second
	candidates = 4   // of those that a relay tells
	busy       = 0.8 // a load above which nothing is tried that is not needed
	hysteresis = 0.8 // of a time at the present region: another one must be better by a fifth
	noise      = time.Millisecond
)

// probe is how a relay stands (PROTOCOL §1.1).
type probe struct {
	Admit        bool    `json:"admit"`
	Retry        int64   `json:"retry_ms"`
	Load         float64 `json:"load"`
	WebTransport bool    `json:"webtransport"`
}

// probe asks a relay how it stands.
func (c *Client) probe(ctx context.Context, base string) (*probe, error) {
	p := new(probe)
	if err := c.fetch(ctx, base+"/v1/probe", p); err != nil {
		return nil, err
	}
	return p, nil
}

// regions asks a relay where else one may connect, the best first.
func (c *Client) regions(ctx context.Context, base string) []string {
	var told struct {
		Regions []struct {
			URL string `json:"url"`
		} `json:"regions"`
	}
	if c.fetch(ctx, base+"/.well-known/chappe", &told) != nil {
		return nil // without it those that are known must do
	}
	var urls []string
	for _, r := range told.Regions[:min(candidates, len(told.Regions))] {
		urls = append(urls, r.URL)
	}
	return acceptable(base, urls)
}

// fetch reads a small JSON document that needs no token.
func (c *Client) fetch(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", agent)
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // to its end: the connection is used again
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return json.Unmarshal(body, into)
}

// nearest returns those of urls that answer and admit, the best first. Of two
// requests to each the second counts, over the warm connection, weighed by load:
// not everybody may flock to the nearest one. Who needs more than twice the time
// of the first, so weighed, is not waited for. here, where the client is, stays the best
// unless another one is better by a fifth.
func (c *Client) nearest(ctx context.Context, urls []string, here string) []string {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	begun := time.Now()
	var mu sync.Mutex
	times := make(map[string]time.Duration)
	var all sync.WaitGroup
	for _, u := range urls {
		all.Go(func() {
			if _, err := c.probe(ctx, u); err != nil {
				return
			}
			warm := time.Now()
			p, err := c.probe(ctx, u)
			took := time.Since(warm)
			if err != nil || !p.Admit {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			times[u] = weigh(took, p.Load)
			if len(times) == 1 {
				so := time.Since(begun)
				time.AfterFunc(2*weigh(so, p.Load)-so, cancel)
			}
		})
	}
	all.Wait()
	if t, ok := times[here]; ok {
		times[here] = time.Duration(float64(t) * hysteresis)
	}
	order := func(a, b string) int { // of equals the first that was given
		return cmp.Or(cmp.Compare(times[a], times[b]), cmp.Compare(slices.Index(urls, a), slices.Index(urls, b)))
	}
	return slices.SortedFunc(maps.Keys(times), order)
}

// weigh makes a busy relay look further away.
func weigh(d time.Duration, load float64) time.Duration {
	switch d = max(d, noise); {
	case load < 0.5:
		return d
	case load < busy:
		return d * 3 / 2
	}
	return d * 4
}

// Nearest sorts the base URLs of relays by how near they are: the time of a
// request over a warm connection, weighed by how busy the relay is. Those that
// do not answer within ctx, or twice the time of the best, or 3 s, or that admit
// nobody, come last in their given order. Of o it uses HTTPClient, TLS and Dialer.
//
// A client looks for the nearest region by itself, but not before it is
// connected: Nearest is for programs that live too shortly for that.
func Nearest(ctx context.Context, urls []string, o Options) []string {
	if len(urls) < 2 {
		return urls
	}
	c := New(urls[0], Options{HTTPClient: o.HTTPClient, TLS: o.TLS, Dialer: o.Dialer, Regions: urls[1:]})
	defer c.Close(ctx)
	if c.bad != nil {
		return urls // whoever uses them is told
	}
	best := c.nearest(ctx, c.home, "")
	return union(best, c.home)
}

// union returns the distinct strings of all lists, in order.
func union(lists ...[]string) []string {
	var all []string
	for _, s := range slices.Concat(lists...) {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
