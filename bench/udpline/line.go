// Package udpline is a line for UDP that is as bad as one wants: datagrams are
// late, overtake one another, or do not come, and the client's address changes as
// behind a NAT that forgot it.
package udpline

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a line. The zero value carries all at once.
type Options struct {
	Delay  time.Duration // of each datagram, one way
	Jitter time.Duration // more of it, drawn for each: they overtake one another
	Loss   float64       // share that does not come, each way
}

// Stats are counts since the line was opened.
type Stats struct {
	Carried   uint64
	Lost      uint64 // on purpose
	Overtaken uint64 // that came behind one that was sent later
	Full      uint64 // for which there was no room
}

const (
	largest  = 64 << 10 // of a datagram
	underway = 8192     // at once: 10,000 a second of 100 ms are 1,000
	buffer   = 4 << 20  // of sockets: bursts are lost on purpose only
)

// Line carries datagrams between clients, who send to its address, and one server.
type Line struct {
	o     Options
	to    *net.UDPAddr
	front *net.UDPConn

	carried, lost, overtaken, full atomic.Uint64
	slots                          chan struct{} // one for each datagram under way
	work                           sync.WaitGroup
	done                           chan struct{}

	mu    sync.Mutex
	ports map[netip.AddrPort]*port // by client
}

// port is what the server sees of a client.
type port struct {
	client netip.AddrPort
	conn   *net.UDPConn
	up     order // to the server
	down   order
}

// order notices what is overtaken.
type order struct {
	sent   atomic.Uint64
	newest atomic.Uint64
}

// Open makes a line from a loopback port to a server.
func Open(server string, o Options) (*Line, error) {
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		return nil, fmt.Errorf("line: %w", err)
	}
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("line: %w", err)
	}
	widen(front)
	l := &Line{o: o, to: to, front: front, slots: make(chan struct{}, underway), done: make(chan struct{}), ports: make(map[netip.AddrPort]*port)}
	l.work.Go(l.forth)
	return l, nil
}

// widen gives a socket what the system allows: too little only loses more.
func widen(c *net.UDPConn) {
	c.SetReadBuffer(buffer)
	c.SetWriteBuffer(buffer)
}

// Addr is where clients send to.
func (l *Line) Addr() string { return l.front.LocalAddr().String() }

// Stats returns what the line did so far.
func (l *Line) Stats() Stats {
	return Stats{l.carried.Load(), l.lost.Load(), l.overtaken.Load(), l.full.Load()}
}

// Rebind forgets the ports of all clients: the server sees what they send next come
// from others, and what it sends to the old ones is lost.
func (l *Line) Rebind() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.ports {
		p.conn.Close()
	}
	clear(l.ports)
}

// Close ends the line, and returns when nothing is under way.
func (l *Line) Close() {
	close(l.done)
	l.front.Close()
	l.Rebind()
	l.work.Wait()
}

// forth carries what clients send.
func (l *Line) forth() {
	buf := make([]byte, largest)
	for {
		n, from, err := l.front.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		p, err := l.port(from)
		if err != nil {
			l.full.Add(1)
			continue
		}
		l.carry(buf[:n], &p.up, func(b []byte) { p.conn.Write(b) })
	}
}

// back carries what the server sends to one port, until that is closed.
func (l *Line) back(p *port) {
	buf := make([]byte, largest)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			if l.gone(p) {
				return
			}
			continue // the server's port is closed: it may be opened again
		}
		l.carry(buf[:n], &p.down, func(b []byte) { l.front.WriteToUDPAddrPort(b, p.client) })
	}
}

// gone reports whether a port is no longer a client's.
func (l *Line) gone(p *port) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ports[p.client] != p
}

func (l *Line) port(client netip.AddrPort) (*port, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.ports[client]; p != nil {
		return p, nil
	}
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	conn, err := net.DialUDP("udp", nil, l.to)
	if err != nil {
		return nil, err
	}
	widen(conn)
	p := &port{client: client, conn: conn}
	l.ports[client] = p
	l.work.Go(func() { l.back(p) })
	return p, nil
}

// carry brings one datagram to the other side, later.
func (l *Line) carry(b []byte, in *order, send func([]byte)) {
	if rand.Float64() < l.o.Loss {
		l.lost.Add(1)
		return
	}
	number := in.sent.Add(1)
	late := l.o.Delay
	if l.o.Jitter > 0 {
		late += rand.N(l.o.Jitter)
	}
	arrive := func(b []byte) {
		if newest := in.newest.Load(); number < newest {
			l.overtaken.Add(1)
		} else {
			in.newest.Store(number)
		}
		l.carried.Add(1)
		send(b)
	}
	if late == 0 {
		arrive(b)
		return
	}
	select {
	case l.slots <- struct{}{}:
	default:
		l.full.Add(1)
		return
	}
	b = append([]byte(nil), b...)
	l.work.Go(func() {
		defer func() { <-l.slots }()
		t := time.NewTimer(late)
		defer t.Stop()
		select {
		case <-t.C:
			arrive(b)
		case <-l.done:
		}
	})
}
