package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
)

// conn is one non-blocking TCP connection of a loop.
type conn struct {
	loop   *Loop
	fd     int
	gen    int32  // tells this connection from an earlier one with its fd
	up     bool   // connected
	asked  uint32 // epoll events asked for
	paused bool   // not read from
	out    []byte // not yet taken by the kernel
	rest   []byte // read, not yet a complete unit
	err    error  // why it ended
	owner  owner
}

// owner is the protocol on a connection.
type owner interface {
	connected()                     // send the request
	received(b []byte) (int, error) // take complete units; an error ends the connection
	ended(err error)                // called once
}

// dial begins to connect to a loopback address.
func (l *Loop) dial(to netip.AddrPort, o owner) (*conn, error) {
	if !to.Addr().Is4() || !to.Addr().IsLoopback() {
		return nil, fmt.Errorf("dial %s: the load goes to IPv4 loopback addresses only", to)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l.gen++
	c := &conn{loop: l, fd: fd, gen: l.gen, owner: o, asked: syscall.EPOLLOUT}
	if err := c.connect(to); err != nil {
		_ = syscall.Close(fd) // the reason is err
		return nil, err
	}
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = c
	return c, nil
}

func (c *conn) connect(to netip.AddrPort) error {
	if err := syscall.SetsockoptInt(c.fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("TCP_NODELAY: %w", err)
	}
	addr := &syscall.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	if err := syscall.Connect(c.fd, addr); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		return fmt.Errorf("connect %s: %w", to, err)
	}
	return c.control(syscall.EPOLL_CTL_ADD)
}

func (c *conn) control(op int) error {
	e := syscall.EpollEvent{Events: c.asked, Fd: int32(c.fd), Pad: c.gen}
	if err := syscall.EpollCtl(c.loop.poll, op, c.fd, &e); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// pause stops reading; the kernel's buffers fill. The connection leaves the
// poll set, which would report its end again and again.
func (c *conn) pause() {
	if c.err != nil || c.paused {
		return
	}
	c.paused = true
	if err := c.control(syscall.EPOLL_CTL_DEL); err != nil {
		c.end(err)
	}
}

// resume reads again.
func (c *conn) resume() {
	if c.err != nil || !c.paused {
		return
	}
	c.paused, c.asked = false, syscall.EPOLLIN
	if err := c.control(syscall.EPOLL_CTL_ADD); err != nil {
		c.end(err)
	}
}

// port returns the local port, by which the server's side of the connection is
// found in the kernel's tables.
func (c *conn) port() uint16 {
	a, err := syscall.Getsockname(c.fd)
	if err != nil {
		return 0
	}
	if in, ok := a.(*syscall.SockaddrInet4); ok {
		return uint16(in.Port)
	}
	return 0
}

func (c *conn) ready(events uint32) {
	if !c.up {
		if n, err := syscall.GetsockoptInt(c.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); err != nil || n != 0 {
			c.end(fmt.Errorf("connect: %w", syscall.Errno(n)))
			return
		}
		c.up = true
		c.owner.connected()
	}
	if events&syscall.EPOLLOUT != 0 && c.err == nil {
		c.flush()
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 && c.err == nil {
		c.read()
	}
	if c.err == nil {
		c.ask()
	}
}

func (c *conn) read() {
	l := c.loop
	held := copy(l.buf, c.rest)
	n, err := syscall.Read(c.fd, l.buf[held:])
	switch {
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
		return
	case err != nil:
		c.end(fmt.Errorf("read: %w", err))
		return
	case n == 0:
		c.end(io.EOF)
		return
	}
	l.now = Now()
	b := l.buf[:held+n]
	used, err := c.owner.received(b)
	switch {
	case c.err != nil:
	case err != nil:
		c.end(err)
	case len(b)-used >= len(l.buf)-maxUnit/2:
		c.end(fmt.Errorf("%d bytes are no complete unit", len(b)-used))
	default:
		c.rest = append(c.rest[:0], b[used:]...)
	}
}

// send queues b and writes what the kernel takes.
func (c *conn) send(b []byte) {
	if c.err != nil {
		return
	}
	c.out = append(c.out, b...)
	c.flush()
	if c.err == nil {
		c.ask()
	}
}

func (c *conn) flush() {
	for len(c.out) > 0 {
		n, err := syscall.Write(c.fd, c.out)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return
		case err != nil:
			c.end(fmt.Errorf("write: %w", err))
			return
		}
		if n == len(c.out) {
			c.out = c.out[:0]
		} else {
			c.out = append(c.out[:0], c.out[n:]...)
		}
	}
}

// ask tells epoll what the connection waits for.
func (c *conn) ask() {
	want := uint32(syscall.EPOLLIN)
	if !c.up || len(c.out) > 0 {
		want |= syscall.EPOLLOUT
	}
	if want == c.asked || c.paused {
		return
	}
	c.asked = want
	if err := c.control(syscall.EPOLL_CTL_MOD); err != nil {
		c.end(err)
	}
}

// end closes the connection; the first reason stands.
func (c *conn) end(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.loop.conns[c.fd] = nil
	_ = syscall.Close(c.fd) // nothing is lost that anybody waits for
	c.rest, c.out = nil, nil
	c.owner.ended(err)
}
