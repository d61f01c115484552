package chappe

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

func TestPublishSurvivesALostConnection(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		ids := make(chan string, 10)
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{Reconnect: 5000})
			pub := want[*wire.Pub](p)
			ids <- pub.ID
			if i < 2 {
				return // cut before the ack
			}
			if string(pub.Data) != "hello" || pub.Channel != "x" || pub.Key != "k" || pub.TTL != 1 || !pub.Quiet || pub.Event != "e" {
				t.Errorf("pub %+v", pub)
			}
			ack := &wire.Ack{Ref: pub.Ref, Stamp: msg("x", 7).Stamp, Dup: true}
			p.send(ack, ack) // an answer too many hurts nobody
			for f := p.next(); f != nil; f = p.next() {
				if _, ok := f.(*wire.Pub); ok {
					t.Error("published once more after the ack")
				}
			}
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		ack, err := c.Publish(t.Context(), "x", Message{Data: []byte("hello"), Key: "k", Event: "e", TTL: time.Microsecond, Quiet: true})
		if err != nil || ack.Stamp != msg("x", 7).Stamp || !ack.Dup {
			t.Fatalf("ack %+v, %v", ack, err)
		}
		first := <-ids
		if len(first) != 32 {
			t.Errorf("id %q", first)
		}
		for range 2 {
			if id := <-ids; id != first {
				t.Errorf("id %q, then %q", first, id)
			}
		}
		time.Sleep(time.Minute)
	})
}

func TestPublishErrors(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		var retried time.Duration
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{})
			pub := want[*wire.Pub](p)
			if pub.ID != "mine" {
				t.Errorf("id %q", pub.ID)
			}
			p.send(&wire.Err{Ref: pub.Ref, Code: wire.CodeRateLimited, Text: "slower", Retry: 250})
			pub = want[*wire.Pub](p)
			p.send(&wire.Err{Ref: pub.Ref, Code: wire.CodeDraining, Retry: 900})
			told := time.Now()
			again := want[*wire.Pub](p)
			retried = time.Since(told)
			if again.ID != pub.ID {
				t.Errorf("retried with id %q, had %q", again.ID, pub.ID)
			}
			p.send(&wire.Ack{Ref: again.Ref})
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		_, err := c.Publish(t.Context(), "x", Message{ID: "mine"})
		var refused *Error
		if !errors.As(err, &refused) || refused.Code != wire.CodeRateLimited || refused.Retry != 250*time.Millisecond {
			t.Errorf("got %v", err)
		}
		if _, err := c.Publish(t.Context(), "x", Message{}); err != nil {
			t.Errorf("got %v", err)
		}
		if retried != 900*time.Millisecond {
			t.Errorf("retried after %s, told 900 ms", retried)
		}
	})
}

func TestPublishEndsWithItsContext(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) { p.greet(wire.Welcome{}); p.stay() }) // never acks
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Publish(ctx, "x", Message{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.pending) != 0 {
			t.Errorf("%d requests still wait", len(c.pending))
		}
	})
}

func TestHistory(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{})
			h := want[*wire.History](p)
			if h.Channel != "x" || h.Cursor != upTo(3) || h.Limit != 2 {
				t.Errorf("history %+v", h)
			}
			if i == 0 {
				return // a read is simply asked again
			}
			p.send(&wire.HistoryPage{
				Ref: h.Ref, Channel: "x", Messages: []wire.Msg{*msg("x", 4), *msg("x", 5)}, Cursor: upTo(5), More: true,
				Gap: &wire.Gap{Channels: []string{"x"}, Count: 3, Reason: wire.ReasonTrimmed},
			})
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		page, err := c.History(t.Context(), "x", HistoryOptions{Cursor: upTo(3), Limit: 2})
		if err != nil || len(page.Messages) != 2 || page.Messages[1].Stamp.Tick != 5 || page.Cursor != upTo(5) || !page.More {
			t.Fatalf("page %+v, %v", page, err)
		}
		if page.Gap == nil || page.Gap.Count != 3 {
			t.Errorf("gap %+v", page.Gap)
		}
	})
}

func TestTokenIsRefreshedInPlace(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		start := time.Now()
		end := start.Add(10 * time.Minute)
		var at []time.Duration
		n.sockets(t, "a", func(i int, p *peer) {
			if i > 0 {
				h := p.greet(wire.Welcome{})
				if h.Resume != "" || h.Token != "C" {
					t.Errorf("a ticket of the old token was shown: %+v", h)
				}
				p.stay()
				return
			}
			p.greet(wire.Welcome{Expires: end.UnixMilli(), Resume: "T"})
			for _, token := range []string{"B", "C"} {
				r := want[*wire.Refresh](p)
				if r.Token != token {
					t.Errorf("refreshed with %q, want %q", r.Token, token)
				}
				at = append(at, time.Since(start))
				p.send(&wire.Ack{Ref: r.Ref, Expires: start.Add(20 * time.Minute).UnixMilli()})
			}
		})
		given := 0
		c := n.client(t, 1, Options{TokenSource: func(context.Context) (string, error) {
			given++
			if given == 2 {
				return "", errors.New("the source has a bad day")
			}
			return []string{"A", "", "B", "C"}[given-1], nil
		}})
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if len(at) != 2 || at[0] < 9*time.Minute || at[0] >= 10*time.Minute || at[1] < 19*time.Minute || at[1] >= 20*time.Minute {
			t.Errorf("refreshed at %v, want in the minute before 10 m and 20 m", at)
		}
	})
}
