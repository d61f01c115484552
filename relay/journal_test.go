package relay_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// deaf is a bus that leads nowhere.
type deaf struct{}

func (deaf) Attach(uint8)           {}
func (deaf) Detach(uint8)           {}
func (deaf) Send(log.Message)       {}
func (deaf) Mark(node.Mark)         {}
func (deaf) Ask(node.Fetch)         {}
func (deaf) Answer(node.Answer)     {}
func (deaf) Sealed(position.Origin) {}

// lines is a log that a test reads.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), part)
}

// What is lost of another node is told to a client whose channel does not grow, at the
// next tick; it is counted, and logged: one line for many.
func TestLossesAreToldCountedAndLogged(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	out := &lines{}
	cfg := relaytest.Open()
	cfg.Bus, cfg.Registerer, cfg.Logger = deaf{}, reg, slog.New(slog.NewTextHandler(out, nil))
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		n := s.Node()
		shard := position.Shard("a")
		from := func(sseq uint64) log.Message {
			stamp := position.Stamp{Origin: 7, Tick: uint64(time.Now().UnixMicro()) &^ 1, Seq: sseq}
			return log.Message{Msg: wire.Msg{Channel: "a.other", Stamp: stamp}, Shard: shard, SSeq: sseq}
		}
		n.OnHeard(7)
		n.OnAnswer(node.Answer{To: n.Self(), Origin: 7, Shard: shard, Authoritative: true})
		e := s.Events("channel=a", "")
		e.Next("id")
		began := time.Now()
		for i := range uint64(20) {
			n.OnAnswer(node.Answer{To: n.Self(), Origin: 7, Shard: shard, Authoritative: true, Floor: 10 * (i + 1), FloorTick: uint64(time.Now().UnixMicro())})
			if i == 0 {
				e.Next("gap")
				if waited := time.Since(began); waited > 60*time.Millisecond {
					t.Errorf("told after %v", waited)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := out.count("lost between nodes"); n != 1 {
			t.Errorf("%d lines at once", n)
		}
		time.Sleep(20 * time.Second)
		n.OnMessage(from(201))
		synctest.Wait()
		if n := out.count("lost between nodes"); n != 2 || out.count("messages=10\n") != 1 || out.count("messages=190\n") != 1 {
			t.Errorf("%d lines:\n%s", n, &out.b)
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if out.count("an origin is silent") != 1 || out.count("an origin is given up") != 1 || out.count("origin=AAAAAAAAAAc") != 4 {
			t.Errorf("the end is not logged, or not whose it was:\n%s", &out.b)
		}
		got := read(t, reg)
		for name, want := range map[string]float64{
			`chappe_lost_messages_total`:                 200,
			`chappe_origins_ended_total{how="given_up"}`: 1,
			`chappe_origins_ended_total{how="closed"}`:   0,
		} {
			if got[name] != want {
				t.Errorf("%s: %v, want %v", name, got[name], want)
			}
		}
	})
}
