package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/chappe-relay/chappe/relay/position"
)

// record is a batch as it is kept.
type record struct {
	seq     uint64 // of the stream
	subject string
	data    []byte
}

var errGone = errors.New("no longer kept")

// read returns up to n batches of a subject, at or after a stream sequence, and of
// about so many bytes: one question for all of them (JetStream's direct get, ADR-31).
// errGone says that there is none, or that the first cannot be read. Fewer say that
// there are no more or that the next cannot be read.
func (d *disk) read(ctx context.Context, o position.Origin, seq uint64, subject string, n, bytes int) ([]record, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	ask, err := json.Marshal(map[string]any{"seq": seq, "next_by_subj": subject, "batch": n, "max_bytes": bytes})
	if err != nil {
		return nil, err
	}
	inbox := nats.NewInbox()
	answers, err := d.Conn().SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer answers.Unsubscribe()
	if err := d.Conn().PublishRequest("$JS.API.DIRECT.GET."+streamName(o), inbox, ask); err != nil {
		return nil, err
	}
	var out []record
	for {
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204": // the end of the answer
			return out, nil
		case "404":
			return nil, errGone
		default:
			return nil, fmt.Errorf("read: %s %s", status, m.Header.Get("Description"))
		}
		at, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read: sequence: %w", err)
		}
		out = append(out, record{at, m.Header.Get("Nats-Subject"), m.Data})
	}
}
