package edge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/edge/history"
	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
)

// keep is the node's history on disk. Its methods take nil for a node without.
type keep struct {
	*history.Store
	temp string // removed at the end; "": none
}

// openKeep opens the store; nil where no namespace has history.
func openKeep(o Options, metrics prometheus.Registerer, spaces map[string]namespace.Options, j *join) (*keep, error) {
	c := &o.Config.History
	_, age := node.Histories(namespace.NewTable(spaces))
	if !c.Store || age == 0 {
		return nil, nil
	}
	k := &keep{}
	dir := filepath.Join(o.Config.Data, "history")
	if o.Dev {
		var err error
		if k.temp, err = os.MkdirTemp("", "chappe-dev-"); err != nil {
			return nil, fmt.Errorf("history: %w", err)
		}
		dir = filepath.Join(k.temp, "history")
	}
	cfg := history.Config{
		Dir: dir, Node: o.Config.Region + "." + o.Config.Mesh.Node, Age: age, Size: int64(c.Size), Sync: c.Sync,
		Ack: time.Duration(c.AckTimeout), Logger: o.Logger,
	}
	if j != nil {
		cfg.Peers, cfg.Regions = j.Mesh, j.regional
	}
	var err error
	if k.Store, err = history.Open(cfg); err != nil {
		k.close()
		return nil, err
	}
	if err = metrics.Register(k.Collector()); err != nil {
		k.close()
		return nil, fmt.Errorf("history: %w", err)
	}
	if j != nil {
		j.keep = k
	}
	return k, nil
}

// configure gives the relay its store.
func (k *keep) configure(c *relay.Config) {
	if k != nil {
		c.Store, c.Ledger = k.Store, k.Store
	}
}

// recall reads back what there is, before the relay begins.
func (k *keep) recall(ctx context.Context, r *relay.Relay) error {
	if k == nil {
		return nil
	}
	return k.Recall(ctx, r.Node())
}

// run writes until ctx ends. The relay has ended before: its last word is kept.
func (k *keep) run(ctx context.Context) error {
	if k == nil {
		return nil
	}
	return k.Run(ctx)
}

// warnings are for /readyz.
func (k *keep) warnings() []string {
	if k == nil {
		return nil
	}
	return k.Warnings()
}

func (k *keep) close() {
	if k == nil {
		return
	}
	if k.Store != nil {
		k.Close()
	}
	if k.temp != "" {
		os.RemoveAll(k.temp)
	}
}
