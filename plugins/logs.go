package plugins

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/plugins/registry"
)

// Level of a line (ABI §8).
type Level uint8

// Levels.
const (
	Debug Level = iota
	Info
	Warning
	Error
)

func (l Level) String() string {
	switch l {
	case Debug:
		return "debug"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "info"
}

// Line is a line of a plugin's log, or the news that some were cut.
type Line struct {
	At      time.Time       `json:"at"`
	Version registry.Digest `json:"version,omitzero"`
	Level   string          `json:"level,omitempty"`
	Text    string          `json:"text,omitempty"`
	Cut     int             `json:"cut,omitempty"` // lines that are missing before this one, or here
}

// Limits of logs, for each plugin.
const (
	logRate  = 100 // lines in a second
	logBurst = 200
	logKept  = 500  // lines that a reader who comes finds
	logText  = 1024 // bytes of a line (ABI §8)
	logQueue = 256  // lines that wait for one reader
)

type logbooks struct {
	clock func() time.Time
	mu    sync.Mutex
	all   map[string]*logbook
	over  bool
}

func (b *logbooks) of(name string) *logbook {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.all[name]
	if at == nil {
		at = &logbook{clock: b.clock, tokens: logBurst, over: b.over}
		if b.all == nil {
			b.all = make(map[string]*logbook)
		}
		b.all[name] = at
	}
	return at
}

func (b *logbooks) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	for _, at := range b.all {
		at.mu.Lock()
		at.over = true
		at.wakeLocked()
		at.mu.Unlock()
	}
}

// logbook is the log of one plugin: the last lines, in memory.
type logbook struct {
	clock func() time.Time

	mu     sync.Mutex
	lines  []Line // a ring of logKept: line n is at n % logKept
	next   uint64 // number of the next line
	tokens float64
	filled time.Time
	cut    int           // lines not taken since the last that was
	wait   chan struct{} // closed when there is more; nil: nobody waits
	over   bool
}

// add takes a line, unless there are too many: then the next that is taken says
// how many are missing.
func (b *logbook) add(version registry.Digest, level Level, text []byte) {
	now := b.clock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens = min(logBurst, b.tokens+max(now.Sub(b.filled).Seconds(), 0)*logRate); b.filled.IsZero() {
		b.tokens = logBurst
	}
	b.filled = now
	if b.tokens < 1 {
		b.cut++
		return
	}
	b.tokens--
	if len(text) > logText {
		text = text[:logText]
	}
	l := Line{At: now.UTC(), Version: version, Level: level.String(), Text: string(text), Cut: b.cut}
	b.cut = 0
	if len(b.lines) < logKept {
		b.lines = append(b.lines, l)
	} else {
		b.lines[b.next%logKept] = l
	}
	b.next++
	b.wakeLocked()
}

func (b *logbook) wakeLocked() {
	if b.wait != nil {
		close(b.wait)
		b.wait = nil
	}
}

// read returns lines from number n on, how many were lost before them, and a
// channel that is closed when there are more.
func (b *logbook) read(n uint64) (lines []Line, lost uint64, more <-chan struct{}, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := uint64(0)
	if b.next > logKept {
		first = b.next - logKept
	}
	if n < first {
		lost, n = first-n, first
	}
	for ; n < b.next && len(lines) < logQueue; n++ {
		lines = append(lines, b.lines[n%logKept])
	}
	if b.wait == nil {
		b.wait = make(chan struct{})
	}
	return lines, lost, b.wait, b.over
}

// Logs yields the last lines of a plugin's log, at most tail, then, if follow is
// set, those that come until ctx or the host ends. A reader that is slower than
// the guest misses lines, and is told how many.
func (h *Host) Logs(ctx context.Context, name string, tail int, follow bool) iter.Seq[Line] {
	b := h.books.of(name)
	return func(yield func(Line) bool) {
		b.mu.Lock()
		n := b.next - min(uint64(max(tail, 0)), min(b.next, logKept))
		b.mu.Unlock()
		for {
			lines, lost, more, over := b.read(n)
			if lost > 0 && !yield(Line{At: h.cfg.Clock().UTC(), Cut: int(lost)}) {
				return
			}
			for _, l := range lines {
				if !yield(l) {
					return
				}
			}
			n += lost + uint64(len(lines))
			if len(lines) > 0 {
				continue
			}
			if !follow || over {
				return
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}
}
