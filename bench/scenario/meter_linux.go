package scenario

import (
	"fmt"
	"syscall"
	"time"

	"github.com/chappe-relay/chappe/bench/target"
)

// meter reads what a stretch of time costs.
type meter struct {
	target             Target
	at                 time.Time
	server, self, busy time.Duration
}

// cost is what a stretch took.
type cost struct {
	wall   time.Duration
	server time.Duration // CPU of the server
	client float64       // CPU of the client, in cores
	other  float64       // CPU of everything else on the machine, in cores: what disturbs
}

func start(t Target) (*meter, error) {
	m := &meter{target: t, at: time.Now()}
	var err error
	m.server, m.self, m.busy, err = m.read()
	return m, err
}

func (m *meter) read() (server, self, busy time.Duration, err error) {
	if server, err = m.target.CPU(); err != nil {
		return 0, 0, 0, err
	}
	if busy, err = target.Busy(); err != nil {
		return 0, 0, 0, err
	}
	var u syscall.Rusage
	if err = syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0, 0, fmt.Errorf("own CPU time: %w", err)
	}
	return server, time.Duration(u.Utime.Nano() + u.Stime.Nano()), busy, nil
}

func (m *meter) stop() (cost, error) {
	server, self, busy, err := m.read()
	wall := time.Since(m.at)
	return cost{
		wall:   wall,
		server: server - m.server,
		client: float64(self-m.self) / float64(wall),
		other:  float64((busy-m.busy)-(self-m.self)-(server-m.server)) / float64(wall),
	}, err
}

// perMillion is server CPU seconds per million of n.
func (c cost) perMillion(n uint64) float64 {
	if n == 0 {
		return 0
	}
	return c.server.Seconds() * 1e6 / float64(n)
}

const mib = 1 << 20
