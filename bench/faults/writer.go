package faults

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
	"github.com/chappe-relay/chappe/relay/position"
)

// writer publishes at a rate, each message with an id and a level of
// acknowledgement; what is not answered it publishes again elsewhere.
type writer struct {
	j       *journal
	doors   []door
	targets []target
	rate    int
	token   string
	number  atomic.Int64
	unknown atomic.Int64
	client  *http.Client
}

func newWriter(j *journal, doors []door, trust *tls.Config, targets []target, rate int) (*writer, error) {
	token, err := mint("writer", ">")
	if err != nil {
		return nil, err
	}
	return &writer{j: j, doors: doors, targets: targets, rate: rate, token: token,
		client: &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, TLSClientConfig: trust.Clone()}}}, nil
}

// run publishes until ctx ends, and returns when all that is under way has ended.
func (w *writer) run(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	t := time.NewTicker(time.Second / time.Duration(w.rate))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			n := int(w.number.Add(1))
			under.Go(func() { w.publish(n) })
		}
	}
}

// publish tries for half a minute.
func (w *writer) publish(n int) {
	t := &w.targets[rand.IntN(len(w.targets))]
	level := t.levels[rand.IntN(len(t.levels))]
	at := rand.IntN(len(w.doors))
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); at++ {
		d := w.doors[at%len(w.doors)]
		w.j.add(check.Event{Who: "writer", Do: check.Publish, Channel: t.channel, Pub: n})
		stamp, dup, err := w.post(d.url, t, level, n)
		if err == nil {
			if !dup {
				w.j.life(d.node, stamp.Origin)
			}
			w.j.add(check.Event{Who: "writer", Do: check.Acked, Pub: n, Stamp: stamp.String(), Level: level})
			return
		}
		time.Sleep(50*time.Millisecond + rand.N(200*time.Millisecond))
	}
	w.unknown.Add(1)
}

func (w *writer) post(base string, t *target, level string, n int) (stamp position.Stamp, dup bool, err error) {
	r, err := http.NewRequest("POST", base+"/v1/channels/"+t.channel+"/messages", strings.NewReader(fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", t.pad))))
	if err != nil {
		return stamp, false, err
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	r.Header.Set("Chappe-Id", strconv.Itoa(n))
	r.Header.Set("Chappe-Ack", level)
	if t.keyed {
		r.Header.Set("Chappe-Key", strconv.Itoa(n%3))
	}
	res, err := w.client.Do(r)
	if err != nil {
		return stamp, false, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return stamp, false, err
	}
	var ack struct {
		Stamp string
		Dup   bool
	}
	if res.StatusCode != 200 || json.Unmarshal(b, &ack) != nil {
		return stamp, false, fmt.Errorf("%s: %s", res.Status, b)
	}
	stamp, err = position.ParseStamp(ack.Stamp)
	return stamp, ack.Dup, err
}

// depth is more than any channel of a run has, and what the nodes give in a page
// (limits.batch).
const depth = 100_000

// holds asks a node for its history of a channel.
func (w *writer) holds(base, channel string) ([]int, error) {
	r, err := http.NewRequest("GET", base+"/v1/channels/"+channel+"/messages?last="+strconv.Itoa(depth), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	patient := &http.Client{Timeout: time.Minute, Transport: w.client.Transport} // 500 questions, on a busy machine
	res, err := patient.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("history of %s: %s", channel, res.Status)
	}
	var page struct {
		Messages []struct{ Data json.RawMessage }
	}
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		return nil, err
	}
	if len(page.Messages) == depth {
		return nil, fmt.Errorf("%s has %d messages or more: a page holds no more", channel, depth)
	}
	all := make([]int, len(page.Messages))
	for i, m := range page.Messages {
		all[i] = number(m.Data)
	}
	return all, nil
}
