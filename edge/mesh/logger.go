package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// natsLog passes the server's own lines on. A peer that is down makes the same
// line four times a second: each is let through once in a while.
type natsLog struct {
	log     *slog.Logger
	refused *atomic.Uint64 // links that were not let in, here or there

	mu    sync.Mutex
	last  map[string]time.Time
	fatal string // why the server does not start
}

// quiet is how long a line of the same format is not repeated.
const quiet = 10 * time.Second

// refusals are what lines of the server about links not let in have in common.
var refusals = []string{"Authorization Violation", "authentication error", "TLS leafnode handshake error", "minimum version"}

// CodeRefused is of log lines about links that were not let in, for alerts.
const CodeRefused = "mesh_refused"

func (l *natsLog) say(level slog.Level, format string, args []any) {
	line := fmt.Sprintf(format, args...)
	refused := slices.ContainsFunc(refusals, func(sign string) bool { return strings.Contains(line, sign) })
	if refused {
		l.refused.Add(1)
	}
	now := time.Now()
	l.mu.Lock()
	again := now.Sub(l.last[format]) < quiet
	if !again {
		if len(l.last) > 256 {
			clear(l.last)
		}
		l.last[format] = now
	}
	l.mu.Unlock()
	switch {
	case again:
	case refused:
		l.log.Warn("mesh: a link is not let in, here or there: another key, certificate or version than is known", "code", CodeRefused, "line", line)
	default:
		l.log.Log(context.Background(), level, line, "part", "nats")
	}
}

func (l *natsLog) Noticef(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l *natsLog) Warnf(format string, args ...any)   { l.say(slog.LevelWarn, format, args) }
func (l *natsLog) Errorf(format string, args ...any)  { l.say(slog.LevelWarn, format, args) }
func (l *natsLog) Debugf(string, ...any)              {}
func (l *natsLog) Tracef(string, ...any)              {}

func (l *natsLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	l.fatal = fmt.Sprintf(format, args...)
	l.mu.Unlock()
	l.say(slog.LevelError, format, args)
}

// why returns the last words of a server that did not start; "" if it did.
func (l *natsLog) why() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
