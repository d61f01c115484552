package edge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/edge/certs"
	"github.com/chappe-relay/chappe/edge/control"
	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/relay/position"
)

// kindTicket is a key of session tickets: a set, by a name of no meaning.
const kindTicket = "ticket"

// regional is what the nodes of one region share, and nobody else may have: it goes
// from one to the other sealed, for links would bring it to any region that asks for
// it, and is on no disk. A node that is alone has its own.
type regional struct {
	store  *control.Store
	mesh   *mesh.Mesh // nil: alone
	region string
	name   string // of this node
	log    *slog.Logger
	now    func() time.Time

	own  certs.TicketKey
	made time.Time // zero: never

	fresh chan struct{} // capacity 1: there may be other keys
}

func openRegional(o Options) (*regional, error) {
	r := &regional{region: o.Config.Region, name: writer(o.Config), log: o.Logger, now: o.Clock, fresh: make(chan struct{}, 1)}
	if r.now == nil {
		r.now = time.Now
	}
	c := control.Config{Writer: r.name, Logger: o.Logger, Now: r.now, Changed: func([]control.Record) { signal(r.fresh) }}
	if o.Config.Mesh.On() {
		c.Bus = fellows{r}
	}
	var err error
	if r.store, err = control.Open(c); err != nil {
		return nil, fmt.Errorf("regional state: %w", err)
	}
	return r, nil
}

// fellows is the bus to the other nodes of the region.
type fellows struct{ *regional }

func (f fellows) Note(body []byte) bool {
	ok := true
	for _, m := range f.others() {
		ok = f.mesh.Confide(m.Origin, topicRegional, body) && ok
	}
	return ok
}

func (f fellows) NoteTo(node position.Origin, body []byte) bool {
	return f.mesh.Confide(node, topicRegional, body)
}

// others are the nodes of the region that are heard.
func (r *regional) others() []mesh.Member {
	if r.mesh == nil {
		return nil
	}
	return slices.DeleteFunc(r.mesh.Members(), func(m mesh.Member) bool { return m.Region != r.region || m.Self || !m.Up })
}

// rank is how many of them come before this node.
func (r *regional) rank() (n time.Duration) {
	for _, m := range r.others() {
		if m.Region+"."+m.Node < r.name {
			n++
		}
	}
	return n
}

// tickets makes the key of the hour if it is due, and returns it with all others
// that are good, the newest first.
func (r *regional) tickets() (own certs.TicketKey, others []certs.TicketKey) {
	if now := r.now(); now.Sub(r.made) >= certs.TicketPeriod {
		r.own, r.made = certs.NewTicketKey(), now
		if _, err := r.store.Add(kindTicket, fmt.Sprintf("%s/%d", r.name, now.UnixNano()), r.own[:], now.Add(certs.TicketLife)); err != nil {
			r.log.Error("a key of session tickets is this node's alone", "err", err)
		}
	}
	all := r.store.All(kindTicket)
	slices.SortFunc(all, func(a, b control.Record) int { return cmp.Compare(b.Expires, a.Expires) })
	for _, rec := range all {
		var raw []byte
		if json.Unmarshal(rec.Value, &raw) == nil && len(raw) == len(certs.TicketKey{}) && certs.TicketKey(raw) != r.own {
			others = append(others, certs.TicketKey(raw))
		}
	}
	return r.own, others
}

// run keeps in touch with the others, and tells use of the keys whenever there are
// others, until ctx ends.
func (r *regional) run(ctx context.Context, use func(own certs.TicketKey, others []certs.TicketKey)) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	hour := time.NewTicker(time.Minute)
	defer hour.Stop()
	for {
		select {
		case <-ctx.Done():
			r.store.Close()
			return
		case <-tick.C:
			r.store.Tick()
		case <-r.fresh:
			use(r.tickets())
		case <-hour.C: // a new one may be due, and old ones be over
			use(r.tickets())
		}
	}
}
