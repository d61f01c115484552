package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/api"
	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/plugins/sign"
	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/namespace"
)

// guests are the node's plugins. Its methods take nil for a node without.
type guests struct {
	host *plugins.Host
	temp string // removed at the end; "": none
}

const pageSize = 64 << 10

// openGuests loads what is bound; nil where nobody may upload.
func openGuests(o Options, metrics prometheus.Registerer, spaces map[string]namespace.Options, r *replica) (*guests, error) {
	c := &o.Config.Plugins
	if !o.Dev && len(c.Keys) == 0 {
		return nil, nil
	}
	g := &guests{}
	dir := filepath.Join(o.Config.Data, "plugins")
	if o.Dev {
		var err error
		if g.temp, err = os.MkdirTemp("", "chappe-dev-"); err != nil {
			return nil, fmt.Errorf("plugins: %w", err)
		}
		dir = filepath.Join(g.temp, "plugins")
	}
	err := g.open(o, dir, spaces, r)
	if err == nil {
		err = metrics.Register(g.host.Collector())
	}
	if err != nil {
		g.close()
		return nil, fmt.Errorf("plugins: %w", err)
	}
	return g, nil
}

func (g *guests) open(o Options, dir string, spaces map[string]namespace.Options, r *replica) error {
	c := &o.Config.Plugins
	var keys []sign.Key
	for name, k := range c.Keys {
		public, err := sign.ParsePublic(k.Public)
		if err != nil {
			return fmt.Errorf("keys.%s: %w", name, err)
		}
		state := sign.State(k.State)
		if k.State == "active" {
			state = sign.Active
		}
		keys = append(keys, sign.Key{Name: name, Public: public, State: state})
	}
	e, err := engine.New(engine.Config{
		Dir: filepath.Join(dir, "code"), Child: true, Logger: o.Logger,
		Limits: engine.Limits{Share: float64(c.Share) / 100},
	})
	if err != nil {
		return err
	}
	linger := namespace.Defaults.Age
	for _, s := range spaces {
		linger = max(linger, s.Filled().Age)
	}
	g.host, err = plugins.Open(context.Background(), plugins.Config{
		Dir: filepath.Join(dir, "store"), Dev: o.Dev, Keys: keys, Loader: e, Linger: linger, Logger: o.Logger,
		Caps: manifest.Caps{Memory: uint32(c.Memory / pageSize)}, Origin: writer(o.Config),
		Changed: r.bindingChanged, Kept: r.versionKept,
	})
	if err != nil {
		return errors.Join(err, e.Close())
	}
	return nil
}

// attach lets a promotion that decides anew reach the relay's subscriptions.
func (g *guests) attach(r *relay.Relay) {
	if g == nil {
		return
	}
	g.host.Reauthorise = func(pattern string) {
		r.Reauthorise(func(name string) bool { return registry.Overlap(pattern, name) })
	}
}

// handler is the API for uploads; nil without plugins.
func (g *guests) handler(logger *slog.Logger) http.Handler {
	if g == nil {
		return nil
	}
	return api.Handler(g.host, logger)
}

// close ends the plugins, when nobody asks them any more.
func (g *guests) close() error {
	if g == nil {
		return nil
	}
	var err error
	if g.host != nil {
		err = g.host.Close()
	}
	if g.temp != "" {
		err = errors.Join(err, os.RemoveAll(g.temp))
	}
	return err
}
