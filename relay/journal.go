package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/chappe-relay/chappe/relay/node"
)

// journal writes what a node notes of other origins to the log. Of what can be many
// it writes one line in journalPause, with the count since the last. Owned by Run.
type journal struct {
	log   *slog.Logger
	now   func() time.Time
	waits map[node.NoteKind]*waiting
}

// waiting is a kind of note that was written less than journalPause ago.
type waiting struct {
	written time.Time
	note    node.Note // the last, with the count of all since
	any     bool
}

const journalPause = 10 * time.Second

func newJournal(log *slog.Logger, now func() time.Time) *journal {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &journal{log: log, now: now, waits: make(map[node.NoteKind]*waiting)}
}

// note takes in a note. See node.Config.Observe.
func (j *journal) note(n node.Note) {
	if n.Count == 0 { // one of a few
		j.write(&n)
		return
	}
	w := j.waits[n.Kind]
	if w == nil {
		w = &waiting{}
		j.waits[n.Kind] = w
	}
	n.Count += w.note.Count
	w.note, w.any = n, true
	j.flush()
}

// flush writes what has waited for long enough.
func (j *journal) flush() {
	for _, w := range j.waits {
		if now := j.now(); w.any && now.Sub(w.written) >= journalPause {
			j.write(&w.note)
			*w = waiting{written: now}
		}
	}
}

func (j *journal) write(n *node.Note) {
	level, text := slog.LevelWarn, ""
	args := []any{"origin", n.Origin.String()}
	long := slog.Duration("for", n.For.Round(time.Millisecond))
	switch n.Kind {
	case node.NoteClosed:
		level, text = slog.LevelInfo, "node: an origin has ended; nothing of it is lost"
	case node.NoteGivenUp:
		text = "node: an origin is given up; what it said last may be lost, and is told as lost"
		args = append(args, long)
	case node.NoteEnded:
		text = "node: an origin's life is over, as others know; what it said last may be lost, and is told as lost"
	case node.NoteSilent:
		text = "node: an origin is silent; where there is no history, what it may have said is told as lost"
		args = append(args, long)
	case node.NoteBack:
		level, text = slog.LevelInfo, "node: an origin is heard again"
		args = append(args, long)
	case node.NoteLost:
		text = "node: messages were lost between nodes, and are told as lost"
		args = append(args, "messages", n.Count)
	case node.NoteFenced:
		text = "node: others had given this node up; it goes on as a new origin"
		args = append(args, "now", n.Next.String())
	case node.NoteIgnored:
		level, text = slog.LevelError, "node: too many origins are known; this one is not heard"
		args = append(args, "times", n.Count)
	case node.NoteClock:
		level, text = slog.LevelError, "node: an origin's clock is further off than is allowed for"
		args = append(args, "offset", n.For.Round(time.Second))
	case node.NoteForgotten:
		text, args = "node: idempotency ids are dropped before their time; a late retry may be published twice", []any{"ids", n.Count}
	}
	j.log.Log(context.Background(), level, text, args...)
}
