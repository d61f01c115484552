package relay_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/relaytest"
)

// logText keeps what a logger writes.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logText) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), what)
}

// Histories that are lost because memory is short are said, not each one.
func TestEvictionsAreSaid(t *testing.T) {
	var said logText
	cfg := relaytest.Open()
	cfg.Memory, cfg.Logger = 100_000, slog.New(slog.NewTextHandler(&said, nil))
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		flood := func() {
			for i := range 200 {
				s.Publish(fmt.Sprint("c", i), relay.Message{Data: make([]byte, 10_000)})
			}
		}
		time.Sleep(20 * time.Second) // virtual
		if said.count("code=evictions") != 0 {
			t.Error("said without reason")
		}
		flood()
		time.Sleep(2 * time.Second)
		flood()
		time.Sleep(2 * time.Second)
		if n := said.count("code=evictions"); n != 1 {
			t.Errorf("said %d times at once", n)
		}
		time.Sleep(10 * time.Second)
		if n := said.count("code=evictions"); n != 2 {
			t.Errorf("said %d times; the rest is to come later", n)
		}
		time.Sleep(time.Minute)
		if n := said.count("code=evictions"); n != 2 {
			t.Errorf("said %d times", n)
		}
	})
}
