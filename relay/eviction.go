package relay

import (
	"log/slog"
	"time"

	"github.com/chappe-relay/chappe/relay/node"
)

// CodeEvictions is of the log line about logs emptied for the memory budget.
const CodeEvictions = "evictions"

// saidEvery is how often the same thing is said at most.
const saidEvery = 10 * time.Second

// evictions says in the log that histories are lost because memory is short. Owned
// by Run.
type evictions struct {
	said uint64
	at   time.Time
}

func (e *evictions) look(u node.Usage, now time.Time, logger *slog.Logger) {
	n := u.Evicted - e.said
	if n == 0 || now.Sub(e.at) < saidEvery || logger == nil {
		return
	}
	e.said, e.at = u.Evicted, now
	logger.Warn("logs were emptied to stay within the memory; who asks for what they held is told a gap. More memory, shorter histories or fewer channels help",
		"code", CodeEvictions, "logs", n, "channels", u.Channels, "bytes", u.Bytes, "budget", u.Budget)
}
