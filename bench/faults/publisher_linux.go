package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/edge"
	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/relay"
)

// Measure is what a publisher by method call saw in one stretch.
type Measure struct {
	Rate    float64       // messages per second
	Longest time.Duration // of one publish
	Heap    int64         // growth in it, bytes
	Memory  int64         // the same of the whole process
	Marks   [2]int        // numbers of its first message and of the one behind its last
}

// stretch asks a publisher to measure.
type stretch struct {
	For  time.Duration
	Rate int
	Size int
}

// Publisher is a node in this process that publishes by method call: a stretch for
// each line of in, and a Measure on out for each. Log lines go to logs. It ends with
// in or ctx.
func Publisher(ctx context.Context, files string, in io.Reader, out, logs io.Writer) error {
	debug.SetGCPercent(35) // as chappe serve does
	c, err := config.Load(config.Source{Path: files})
	if err != nil {
		return err
	}
	n, err := edge.New(edge.Options{Config: c, Logger: slog.New(slog.NewTextHandler(logs, nil))})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	answers := json.NewEncoder(out)
	number := 0
	for lines := bufio.NewScanner(in); lines.Scan() && err == nil; {
		var s stretch
		if err = json.Unmarshal(lines.Bytes(), &s); err == nil {
			var m *Measure
			if m, err = s.publish(n.Relay(), &number); err == nil {
				err = answers.Encode(m)
			}
		}
	}
	stop()
	if end := <-ended; err == nil {
		err = end
	}
	return err
}

// publish makes what is due every few milliseconds, each message numbered.
func (s stretch) publish(r *relay.Relay, number *int) (*Measure, error) {
	m := &Measure{Marks: [2]int{*number, 0}}
	debug.FreeOSMemory()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	heap := mem.HeapInuse
	process, err := resident()
	if err != nil {
		return nil, err
	}
	pad := strings.Repeat("x", s.Size-20)
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	n, looked := 0, began
	for time.Since(began) < s.For {
		<-tick.C
		for due := int(time.Since(began).Seconds() * float64(s.Rate)); n < due; n++ {
			data := fmt.Appendf(nil, `"%017d%s"`, *number, pad)
			*number++
			at := time.Now()
			if _, _, err := r.Publish(hungChannel, relay.Message{Data: data}); err != nil {
				return nil, err
			}
			m.Longest = max(m.Longest, time.Since(at))
		}
		if time.Since(looked) < 500*time.Millisecond {
			continue
		}
		looked = time.Now()
		runtime.ReadMemStats(&mem) // stops the world for less than 0.1 ms, between publishes
		m.Heap = max(m.Heap, int64(mem.HeapInuse)-int64(heap))
		now, err := resident()
		if err != nil {
			return nil, err
		}
		m.Memory = max(m.Memory, now-process)
	}
	m.Rate, m.Marks[1] = float64(n)/time.Since(began).Seconds(), *number
	return m, nil
}

// resident is the memory of this process, in bytes.
func resident() (int64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0, fmt.Errorf("/proc/self/statm: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}
