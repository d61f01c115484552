package faults

import (
	"bufio"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
)

// journal is where clients and the rig write down what happens: for the checker,
// and as JSON lines.
type journal struct {
	mu      sync.Mutex
	checker *check.Checker
	out     *bufio.Writer
	enc     *json.Encoder
	bad     error
}

func newJournal(c *check.Checker, w io.Writer) *journal {
	out := bufio.NewWriterSize(w, 1<<20)
	return &journal{checker: c, out: out, enc: json.NewEncoder(out)}
}

func now() int64 { return time.Now().UnixMicro() }

func (j *journal) add(e check.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.At == 0 {
		e.At = now()
	}
	if err := j.checker.Add(&e); err != nil && j.bad == nil {
		j.bad = err
	}
	if err := j.enc.Encode(&e); err != nil && j.bad == nil {
		j.bad = err
	}
}
