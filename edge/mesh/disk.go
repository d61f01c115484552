package mesh

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Disk is an embedded JetStream server of its own, with no listener and no peer:
// a directory of streams. The mesh's server is not used for it: where it has
// routes, JetStream there would want a quorum of the region's nodes.
type Disk struct {
	server *server.Server
	conn   *nats.Conn
}

// DiskOptions of a Disk.
type DiskOptions struct {
	Dir    string
	Sync   bool // fsync before every answer; else about every two minutes
	Logger *slog.Logger
}

// OpenDisk starts the server on a directory, which is made if need be. Close
// ends it.
func OpenDisk(o DiskOptions) (*Disk, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "disk", DontListen: true, NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
		MaxPayload: maxDiskPayload, MaxPending: maxPending,
		JetStream: true, StoreDir: o.Dir, SyncAlways: o.Sync,
		JetStreamMaxMemory: 1 << 20, JetStreamMaxStore: 1 << 50, // streams have limits of their own
		JetStreamLimits: server.JSLimitOpts{MaxRequestBatch: 1 << 10},
	})
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", o.Dir, err)
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	said := &natsLog{log: logger, refused: new(atomic.Uint64), last: make(map[string]time.Time)}
	s.SetLoggerV2(said, false, false, false)
	d := &Disk{server: s}
	started := make(chan struct{})
	go func() { // where nothing listens, Start returns when all is read, or cannot be
		s.Start()
		close(started)
	}()
	late := time.NewTimer(diskTimeout)
	defer late.Stop()
	select {
	case <-started:
	case <-late.C:
		d.Close()
		return nil, fmt.Errorf("disk %s: not read after %s: the disk is slow, or holds more than it can bring back in that time", o.Dir, diskTimeout)
	}
	if why := said.why(); why != "" {
		d.Close()
		return nil, fmt.Errorf("disk %s: %s", o.Dir, why)
	}
	if d.conn, err = nats.Connect("", nats.InProcessServer(s), nats.Name("history"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond)); err != nil {
		d.Close()
		return nil, fmt.Errorf("disk %s: %w", o.Dir, err)
	}
	return d, nil
}

const (
	// maxDiskPayload is more than the largest packet.
	maxDiskPayload = 8 << 20
	// diskTimeout is for reading back what is there: it is checked byte for byte.
	diskTimeout = 2 * time.Minute
)

// Conn is a connection inside the process. Disk owns it.
func (d *Disk) Conn() *nats.Conn { return d.conn }

// Close writes what waits, and ends the server.
func (d *Disk) Close() {
	if d.conn != nil {
		d.conn.Close()
	}
	d.server.Shutdown()
	d.server.WaitForShutdown()
}
