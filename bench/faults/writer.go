package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
)

// writer publishes at a rate, each message with an id and a level of
// acknowledgement; what is not answered it publishes again elsewhere.
type writer struct {
	j        *journal
	urls     []string
	channels []string
	rate     int
	pad      string
	number   atomic.Int64
	unknown  atomic.Int64
	client   *http.Client
}

func newWriter(j *journal, urls, channels []string, l Load) *writer {
	return &writer{j: j, urls: urls, channels: channels, rate: l.Rate, pad: strings.Repeat("x", l.Pad),
		client: &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// run publishes until ctx ends; publications under way end with done.
func (w *writer) run(ctx context.Context, start func(func())) {
	t := time.NewTicker(time.Second / time.Duration(w.rate))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			n := int(w.number.Add(1))
			start(func() { w.publish(n) })
		}
	}
}

var levels = []string{"local", "local", "stored", "replicated"}

// publish tries for half a minute.
func (w *writer) publish(n int) {
	channel := w.channels[rand.IntN(len(w.channels))]
	level := levels[rand.IntN(len(levels))]
	at := rand.IntN(len(w.urls))
	w.j.add(check.Event{Who: "writer", Do: check.Publish, Channel: channel, Pub: n})
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); at++ {
		stamp, err := w.post(w.urls[at%len(w.urls)], channel, level, n)
		if err == nil {
			w.j.add(check.Event{Who: "writer", Do: check.Acked, Pub: n, Stamp: stamp, Level: level})
			return
		}
		time.Sleep(50*time.Millisecond + rand.N(200*time.Millisecond))
	}
	w.unknown.Add(1)
}

func (w *writer) post(base, channel, level string, n int) (stamp string, err error) {
	r, err := http.NewRequest("POST", base+"/v1/channels/"+channel+"/messages", strings.NewReader(fmt.Sprintf(`"%d %s"`, n, w.pad)))
	if err != nil {
		return "", err
	}
	r.Header.Set("Chappe-Id", strconv.Itoa(n))
	r.Header.Set("Chappe-Ack", level)
	res, err := w.client.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	var ack struct{ Stamp string }
	if res.StatusCode != 200 || json.Unmarshal(b, &ack) != nil {
		return "", fmt.Errorf("%s: %s", res.Status, b)
	}
	return ack.Stamp, nil
}

// number is that of the publication with this payload, 0 if it is none of ours.
func number(data []byte) int {
	text, _, _ := strings.Cut(strings.Trim(string(data), `"`), " ")
	n, _ := strconv.Atoi(text)
	return n
}

// depth is more than any channel of a run has, and what the nodes give in a page
// (limits.batch).
const depth = 100_000

// holds asks a node for its history of a channel.
func (w *writer) holds(base, channel string) ([]int, error) {
	res, err := w.client.Get(base + "/v1/channels/" + channel + "/messages?last=" + strconv.Itoa(depth))
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
