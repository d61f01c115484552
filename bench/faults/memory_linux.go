package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
)

var gauges = regexp.MustCompile(`(?m)^chappe_log_(bytes|budget_bytes) (\S+)$`)

// share is how much of the memory that its logs may take a node's logs take.
func (c *cluster) share(i int) (float64, error) {
	from := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = c.net.within(i, func() error {
			conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}}}
	res, err := from.Get("http://127.0.0.1:8081/metrics")
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return 0, err
	}
	of := map[string]float64{}
	for _, m := range gauges.FindAllStringSubmatch(string(text), -1) {
		if of[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
			return 0, err
		}
	}
	if of["budget_bytes"] == 0 {
		return 0, fmt.Errorf("node %d does not say what its logs take", i)
	}
	return of["bytes"] / of["budget_bytes"], nil
}

// meter looks at the logs of all nodes now and then.
type meter struct {
	c    *cluster
	mu   sync.Mutex
	most float64
	seen int
}

// run looks until ctx ends. A node that does not answer is looked at later.
func (m *meter) run(ctx context.Context) {
	for ctx.Err() == nil {
		for i := range regionOf {
			if share, err := m.c.share(i); err == nil {
				m.mu.Lock()
				m.most, m.seen = max(m.most, share), m.seen+1
				m.mu.Unlock()
			}
		}
		sleep(ctx, 2*time.Second)
	}
}

// result is the most that was seen. The error says that nothing was.
func (m *meter) result() (float64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == 0 {
		return 0, fmt.Errorf("no node said what its logs take")
	}
	return m.most, nil
}
