package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/relay/wire"
)

// Hung is what a publisher, and readers in regions that are well, notice of a
// region that stands still.
type Hung struct {
	Healthy, Hung Measure
	Third         [2]float64    // share that came to a reader in a third region: before, and meanwhile
	Back          time.Duration // after which the region had what was new
}

const (
	hungChannel = "e0.hung" // without history: what memory holds is the mesh's
	hungRate    = 16_000
	hungSize    = 1 << 10
	hungFor     = 20 * time.Second
	maxLongest  = 5 * time.Millisecond
	maxGrowth   = 64 << 20
)

// hung stops all of region b, while a node of a publishes by method call.
func (g *Rig) hung(ctx context.Context, dir string, res *Result) error {
	load := Load{Fleet: 1, Age: 5 * time.Minute, Plain: true}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c, err := prepare(g.Binary, dir, load, nil, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotRun, err)
	}
	defer c.close()
	p := &publisher{}
	c.special = func(files string) *exec.Cmd { return p.command(c, self, files) }
	if err := errors.Join(c.open(), p.bad); err != nil {
		return err
	}
	defer p.in.Close()

	reading, stop := context.WithCancel(ctx)
	defer stop()
	var readers sync.WaitGroup
	defer readers.Wait()
	defer stop()
	third, back := newCounter(c.url(3)), newCounter(c.url(1))
	for _, k := range []*counter{third, back} {
		readers.Go(func() { k.run(reading) })
		if err := k.wait(ctx); err != nil {
			return err
		}
	}
	h := &Hung{}
	res.Hung = h
	for range 3 { // a machine that others use may not be quiet at once
		if h.Healthy, h.Third[0], err = p.measure(stretch{hungFor, hungRate, hungSize}, third); err != nil {
			return err
		}
		if h.Healthy.Longest <= maxLongest {
			break
		}
	}
	res.Faults++
	for _, i := range []int{1, 2} {
		c.signal(i, syscall.SIGSTOP)
	}
	h.Hung, h.Third[1], err = p.measure(stretch{hungFor, hungRate, hungSize}, third)
	for _, i := range []int{1, 2} {
		c.signal(i, syscall.SIGCONT)
	}
	if err != nil {
		return err
	}
	healed := time.Now()
	readers.Go(func() {
		for reading.Err() == nil && back.newest.Load() < int64(h.Hung.Marks[1]) {
			sleep(reading, 20*time.Millisecond)
		}
		h.Back = time.Since(healed)
	})
	_, _, err = p.measure(stretch{10 * time.Second, 100, hungSize}, third)
	stop()
	readers.Wait()
	res.hung(h)
	return err
}

// hung judges the limits. Where the machine does not keep them beside a healthy
// region, it cannot show them beside one that hangs.
func (r *Result) hung(h *Hung) {
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
		}
	}
	wrong(h.Healthy.Rate < 0.95*hungRate, "the machine is too slow: %.0f msg/s beside a healthy region", h.Healthy.Rate)
	wrong(h.Hung.Rate < 0.95*hungRate, "%.0f msg/s beside a region that hangs", h.Hung.Rate)
	wrong(h.Healthy.Longest > maxLongest, "the machine is too busy: a publish took %s beside a healthy region", h.Healthy.Longest)
	wrong(h.Hung.Longest > maxLongest, "a publish took %s beside a region that hangs, %s before", h.Hung.Longest, h.Healthy.Longest)
	wrong(h.Hung.Memory > maxGrowth, "the publisher grew by %d MiB", h.Hung.Memory>>20)
	wrong(h.Third[1] < 0.95*h.Third[0], "%.0f %% came to a third region, %.0f %% before", 100*h.Third[1], 100*h.Third[0])
	wrong(h.Back > 10*time.Second, "the region that hung had nothing new for %s", h.Back)
}

// publisher is the process that publishes by method call.
type publisher struct {
	in  io.WriteCloser
	out *bufio.Scanner
	bad error
}

func (p *publisher) command(c *cluster, self, files string) *exec.Cmd {
	cmd := c.net.command(0, self, "publisher", "-config", files)
	var out io.ReadCloser
	p.in, p.bad = cmd.StdinPipe()
	if p.bad == nil {
		out, p.bad = cmd.StdoutPipe()
	}
	p.out = bufio.NewScanner(out)
	return cmd
}

// measure has it publish for a while, and says which share came to a reader.
func (p *publisher) measure(s stretch, k *counter) (m Measure, share float64, err error) {
	before := k.n.Load()
	if err := json.NewEncoder(p.in).Encode(s); err != nil {
		return m, 0, err
	}
	if !p.out.Scan() {
		return m, 0, errors.Join(errors.New("the publisher has ended"), p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), &m); err != nil {
		return m, 0, err
	}
	return m, float64(k.n.Load()-before) / float64(m.Marks[1]-m.Marks[0]), nil
}

// counter reads a channel and counts.
type counter struct {
	url    string
	stands chan struct{}
	n      atomic.Int64
	newest atomic.Int64 // number
}

func newCounter(url string) *counter { return &counter{url: url, stands: make(chan struct{})} }

func (k *counter) wait(ctx context.Context) error {
	select {
	case <-k.stands:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(30 * time.Second):
		return fmt.Errorf("no subscription at %s", k.url)
	}
}

// run reads until ctx ends, and comes back when it is cut.
func (k *counter) run(ctx context.Context) {
	var once sync.Once
	for ctx.Err() == nil {
		k.read(ctx, func() { once.Do(func() { close(k.stands) }) })
		sleep(ctx, 100*time.Millisecond)
	}
}

func (k *counter) read(ctx context.Context, standing func()) error {
	c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(k.url, "http")+"/v1/ws", &websocket.DialOptions{Subprotocols: []string{"chappe.v1.bin"}})
	if err != nil {
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(4 << 20)
	write := func(f wire.Frame) error { return c.Write(ctx, websocket.MessageBinary, wire.AppendBinary(nil, f)) }
	if err := write(&wire.Hello{Version: 1, Agent: "counter", Subs: []wire.Sub{{Channel: hungChannel}}}); err != nil {
		return err
	}
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			return err
		}
		fs, err := wire.DecodeBinary(b, wire.FromServer)
		if err != nil {
			return err
		}
		for _, f := range fs {
			switch f := f.(type) {
			case *wire.Subbed:
				standing()
			case *wire.Ping:
				if err := write(&wire.Pong{}); err != nil {
					return err
				}
			case *wire.Msg:
				k.n.Add(1)
				k.newest.Store(max(k.newest.Load(), int64(number(f.Data))))
			}
		}
	}
}
