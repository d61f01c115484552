package relay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

func TestOverload(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Limits.Connections = 2
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		if err := s.Ready(); err != nil {
			t.Errorf("Ready: %v", err)
		}
		s.Events("channel=a", "").Next("id")
		s.Events("channel=a", "").Next("id")
		if err := s.Ready(); err == nil || !strings.HasPrefix(err.Error(), "overloaded") {
			t.Errorf("Ready: %v, want overloaded", err)
		}
		if l := s.Load(); l.Connections != 1 || l.Value != 1 {
			t.Errorf("load %+v", l)
		}
		e := s.Events("channel=a", "") // 200: an EventSource takes anything else as final
		b := e.Next("error")
		frames, _ := wire.DecodeJSON([]byte(b.Data), wire.FromServer)
		if f := frames[0].(*wire.Err); f.Code != wire.CodeOverloaded || f.Terminal || f.Retry <= 0 || e.Retry != fmt.Sprint(f.Retry) {
			t.Errorf("got %+v, retry %s", f, e.Retry)
		}
		if _, err := e.Block(); !errors.Is(err, io.EOF) {
			t.Errorf("%v, want the end", err)
		}
		resp, err := s.Client().Get(relaytest.URL + "/v1/poll?channel=a")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("poll: %s %v", resp.Status, resp.Header)
		}
	})
}

// A client is told of the nodes that are heard when it comes, and of those that are
// heard then when it is sent away; and of a window in which they can take all.
func TestClientsAreToldOfNeighbours(t *testing.T) {
	var mu sync.Mutex
	others := []relay.Neighbour{{Region: "us", URL: "https://us.example", Admission: 1}, {Region: "ap", URL: "https://ap.example"}}
	cfg := relaytest.Open()
	cfg.Region, cfg.PublicURL = "eu", "https://eu.example"
	cfg.Neighbours = func() []relay.Neighbour {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(others)
	}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		for range 4 {
			s.Events("channel=a", "").Next("id")
		}
		time.Sleep(time.Second) // virtual
		e := s.Events("channel=a", "")
		frames, err := wire.DecodeJSON([]byte(e.Next("welcome").Data), wire.FromServer)
		if err != nil {
			t.Fatal(err)
		}
		w := frames[0].(*wire.Welcome)
		if !slices.Equal(w.Alternatives, []string{"https://us.example"}) || w.Reconnect != 4000 {
			t.Errorf("told of %q and %d ms", w.Alternatives, w.Reconnect)
		}
		resp, err := s.Client().Get(relaytest.URL + "/.well-known/chappe")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var all struct {
			Regions []struct{ Region, URL string }
		}
		if err := json.NewDecoder(resp.Body).Decode(&all); err != nil || fmt.Sprint(all.Regions) != "[{eu https://eu.example} {us https://us.example}]" {
			t.Errorf("%v, %v", all, err)
		}
		mu.Lock()
		others[0].Admission, others[1].Admission = 0, 5
		mu.Unlock()
		time.Sleep(time.Second)
		done := make(chan error, 1)
		go func() { done <- s.Drain(t.Context(), 10*time.Second) }()
		frames, err = wire.DecodeJSON([]byte(e.Next("drain").Data), wire.FromServer)
		if err != nil {
			t.Fatal(err)
		}
		if d := frames[0].(*wire.Drain); !slices.Equal(d.Alternatives, []string{"https://ap.example"}) {
			t.Errorf("sent to %q", d.Alternatives)
		}
		if s.Admission() != 0 {
			t.Error("a node that drains lets clients in")
		}
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestDrainIsPaced(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		for range 40 {
			e := s.Events("channel=a", "")
			go io.Copy(io.Discard, e.Response.Body)
		}
		synctest.Wait()
		begun := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Drain(t.Context(), 8*time.Second) }()
		for _, at := range []struct {
			after    time.Duration
			min, max int
		}{{3 * time.Second, 40, 40}, {6 * time.Second, 10, 30}, {7500 * time.Millisecond, 1, 12}} {
			time.Sleep(at.after - time.Since(begun)) // virtual
			if n := len(s.Connections()); n < at.min || n > at.max {
				t.Errorf("%s: %d connections, want %d to %d", at.after, n, at.min, at.max)
			}
			if s.Ready() == nil {
				t.Error("ready while draining")
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 9*time.Second || len(s.Connections()) != 0 {
			t.Errorf("took %s, %d left", took, len(s.Connections()))
		}
	})
}

func TestDrainStopsWithItsContext(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		s.Events("channel=a", "").Next("id")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Drain(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
