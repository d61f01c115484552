package faults

import (
	"context"
	"math/rand/v2"
	"net"
	"time"
)

// dawdler is a connection whose reader does something else now and then, for less
// than a relay waits for a sign of life.
type dawdler struct {
	net.Conn
	next time.Time
}

func (d *dawdler) Read(b []byte) (int, error) {
	if now := time.Now(); now.After(d.next) {
		time.Sleep(1500*time.Millisecond + rand.N(700*time.Millisecond))
		d.next = time.Now().Add(time.Second + rand.N(2*time.Second))
	}
	return d.Conn.Read(b)
}

// dawdling makes connections that hold little and are read with pauses.
func dawdling(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if err := c.(*net.TCPConn).SetReadBuffer(8 << 10); err != nil {
			c.Close()
			return nil, err
		}
		return &dawdler{c, time.Now().Add(2 * time.Second)}, nil
	}
}
