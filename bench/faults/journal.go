package faults

import (
	"bufio"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
	"github.com/chappe-relay/chappe/relay/position"
)

// journal is where clients and the rig write down what happens: for the checker,
// and as JSON lines.
type journal struct {
	mu      sync.Mutex
	checker *check.Checker
	out     *bufio.Writer
	enc     *json.Encoder
	lives   map[position.Origin]bool // that are written down
	bad     error
}

func newJournal(c *check.Checker, w io.Writer) *journal {
	out := bufio.NewWriterSize(w, 1<<20)
	return &journal{checker: c, out: out, enc: json.NewEncoder(out), lives: make(map[position.Origin]bool)}
}

func now() int64 { return time.Now().UnixMicro() }

func (j *journal) add(e check.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.addLocked(e)
}

func (j *journal) addLocked(e check.Event) {
	e.At = now()
	if err := j.checker.Add(&e); err != nil && j.bad == nil {
		j.bad = err
	}
	if err := j.enc.Encode(&e); err != nil && j.bad == nil {
		j.bad = err
	}
}

// life notes that a node speaks as an origin.
func (j *journal) life(node string, o position.Origin) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.lives[o] {
		j.lives[o] = true
		j.addLocked(check.Event{Who: node, Do: check.Lives, Origin: o.String()})
	}
}

// close writes what is not yet written.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.out.Flush(); j.bad == nil {
		j.bad = err
	}
	return j.bad
}
