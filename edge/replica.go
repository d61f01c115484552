package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/edge/admin"
	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/edge/control"
	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/auth"
)

// Kinds of records.
const (
	kindRevocation = "revocation" // of admin.Revocation, a set
	kindArtifact   = "artifact"   // of artifact, by digest
	kindBinding    = "binding"    // of registry.Binding, by pattern
	kindSetting    = "setting"    // of setting, by key of the configuration
)

// replica lets what is decided on one node be so on all: it joins the control
// state to the relay and the plugins. Its methods take nil for a node without.
type replica struct {
	store *control.Store
	log   *slog.Logger
	age   time.Duration // of tickets, while cut off
	mesh  *mesh.Mesh    // nil: alone

	// Set by attach.
	relay    *relay.Relay
	host     *plugins.Host // nil: no plugins
	settings *settings

	tuned   chan struct{} // settings changed
	wake    chan struct{} // bindings or versions changed, here or elsewhere
	revoked chan struct{} // revocations did
	mine    atomic.Bool   // bindings were changed here
	pending atomic.Int64  // bindings that wait for a version

	mu    sync.Mutex
	fresh []auth.Revocation // not put in force yet
	tries tries             // owned by run
}

// writer names this node in what it decides.
func writer(c *config.Config) string {
	if !c.Mesh.On() {
		return c.Region
	}
	return c.Region + "." + c.Mesh.Node
}

// openReplica reads the control state; it is not shared before join.
func openReplica(o Options, metrics prometheus.Registerer) (*replica, error) {
	r := &replica{log: o.Logger, age: time.Duration(o.Config.Mesh.Ticket),
		tuned: make(chan struct{}, 1), wake: make(chan struct{}, 1), revoked: make(chan struct{}, 1), tries: make(tries)}
	r.mine.Store(true) // what was decided before there was a control state
	c := control.Config{Writer: writer(o.Config), Changed: r.changed, Logger: o.Logger, Now: o.Clock, Ahead: r.ahead}
	if !o.Dev {
		c.Dir = filepath.Join(o.Config.Data, "control")
	}
	if o.Config.Mesh.On() {
		c.Bus = notes{mesh: &r.mesh, topic: topicControl}
		if len(o.Config.Mesh.Peers) > 0 {
			c.Matters = func(region string) bool { return region != o.Config.Region }
		}
	}
	var err error
	if r.store, err = control.Open(c); err != nil {
		return nil, err
	}
	if err := metrics.Register(r.collector()); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return r, nil
}

// join is told of the mesh that carries the notes.
func (r *replica) join(m *mesh.Mesh) { r.mesh = m }

// attach puts in force what the store holds.
func (r *replica) attach(on *relay.Relay, g *guests, s *settings) {
	r.relay, r.settings = on, s
	if g != nil {
		r.host = g.host
	}
	r.changed(r.store.All(kindRevocation))
	r.revoke()
}

// ahead is how far our clock is ahead of the middle one of the others.
func (r *replica) ahead() time.Duration {
	if r.mesh == nil {
		return 0
	}
	var all []time.Duration
	for _, m := range r.mesh.Members() {
		if !m.Self && m.Up && m.RTT > 0 {
			all = append(all, -m.Offset)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// run keeps the state and what it decides about in step, until ctx ends.
func (r *replica) run(ctx context.Context) {
	if r == nil {
		return
	}
	var work sync.WaitGroup
	work.Go(func() { // on its own: a version that is compiled must not hold it up
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.revoked:
				r.revoke()
			case <-r.tuned:
				if err := r.settings.follow(); err != nil {
					r.log.Error("settings are not in force", "err", err)
				}
			}
		}
	})
	if r.host != nil {
		work.Go(func() { r.follow(ctx) })
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			r.store.Tick()
		}
	}
	work.Wait()
	r.store.Close()
}

// changed hears of records, of this node's and of others'.
func (r *replica) changed(all []control.Record) {
	var gone []auth.Revocation
	for _, rec := range all {
		switch rec.Kind {
		case kindRevocation:
			var one admin.Revocation
			if err := json.Unmarshal(rec.Value, &one); err != nil {
				r.log.Error("a revocation that cannot be read", "key", rec.Key, "writer", rec.Writer, "err", err)
				continue
			}
			gone = append(gone, auth.Revocation{User: one.User, Token: one.Token, At: one.At, Until: time.UnixMilli(rec.Expires)})
		case kindArtifact, kindBinding:
			signal(r.wake)
		case kindSetting:
			signal(r.tuned)
		}
	}
	if len(gone) > 0 {
		r.mu.Lock()
		r.fresh = append(r.fresh, gone...)
		r.mu.Unlock()
		signal(r.revoked)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// revoke puts in force what came.
func (r *replica) revoke() {
	r.mu.Lock()
	all := r.fresh
	r.fresh = nil
	r.mu.Unlock()
	if len(all) == 0 {
		return
	}
	if n := r.relay.Revoke(all...); n > 0 {
		r.log.Info("sessions closed: their credentials were revoked", "sessions", n)
	}
}

// ticketAge is the oldest resume ticket that is taken: a node that is cut off may
// have missed a revocation.
func (r *replica) ticketAge() time.Duration {
	if _, alone := r.store.Alone(); alone {
		return r.age
	}
	return auth.MaxAge
}

// warnings are for /readyz.
func (r *replica) warnings() (out []string) {
	if r == nil {
		return nil
	}
	if since, alone := r.store.Alone(); alone {
		out = append(out, "no other region or node is heard since "+since.UTC().Format(time.RFC3339)+": what is decided elsewhere is not known here")
	}
	for _, kind := range r.store.Damaged() {
		out = append(out, "the store of "+kind+" records was damaged, and no other node has brought them back yet")
	}
	if r.store.Failing() {
		out = append(out, "the store of control records takes nothing")
	}
	if n := r.pending.Load(); n > 0 {
		out = append(out, fmt.Sprintf("%d bindings wait for a version of their plugin", n))
	}
	if n := r.settings.idleCount(); n > 0 {
		out = append(out, fmt.Sprintf("%d settings have no effect on this node: they do not go with its configuration", n))
	}
	return out
}

// revoker is the admin API's part.
func (r *replica) revoker() admin.Revoker {
	if r == nil {
		return nil
	}
	return revoker{r}
}

type revoker struct{ *replica }

// Revoke implements admin.Revoker. A user's revocations are an element each, so
// that none takes another's place.
func (r revoker) Revoke(one admin.Revocation) error {
	key := "token/" + one.Token
	if one.User != "" {
		key = fmt.Sprintf("user/%s/%d", one.User, one.At.UnixMilli())
	}
	_, err := r.store.Add(kindRevocation, key, one, one.Until)
	return unkept(err)
}

// unkept gives the errors of the control state their codes.
func unkept(err error) error {
	for code, why := range map[string]error{"too_many": control.ErrFull, "clock": control.ErrClock, "store": control.ErrStore, "bad_request": control.ErrTooBig} {
		if errors.Is(err, why) {
			return &admin.Refusal{Code: code, Text: why.Error()}
		}
	}
	return err
}

// Revocations implements admin.Revoker.
func (r revoker) Revocations() (out []admin.Revocation) {
	for _, rec := range r.store.All(kindRevocation) {
		var one admin.Revocation
		if json.Unmarshal(rec.Value, &one) == nil {
			one.Until = time.UnixMilli(rec.Expires).UTC()
			out = append(out, one)
		}
	}
	return out
}

// collector returns the metrics of the control state.
func (r *replica) collector() prometheus.Collector { return replicaMetrics{r} }
