package faults

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// within does something in a node's namespace: a socket made there stays there.
func (n *network) within(i int, do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := os.Open("/run/netns/" + n.ns(i))
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		if err := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // the thread is of no use to anybody
		}
	}()
	return do()
}

// pipe copies one way of a connection, until either side ends.
type pipe func(to, from net.Conn)

// lay puts a forwarder between any two nodes.
func (n *network) lay(p pipe) error {
	n.laid = p
	for i := range n.nodes {
		for j := range n.nodes {
			if i == j {
				continue
			}
			var in net.Listener
			if err := n.within(i, func() (err error) {
				in, err = net.Listen("tcp", n.mesh(j, i))
				return err
			}); err != nil {
				return err
			}
			n.doors = append(n.doors, in)
			go n.forward(in, i, n.link(j, i)+":7422")
		}
	}
	return nil
}

// forward ends with its listener; its connections end with either side.
func (n *network) forward(in net.Listener, i int, to string) {
	for {
		a, err := in.Accept()
		if err != nil {
			return
		}
		var b net.Conn
		if err := n.within(i, func() (err error) {
			b, err = net.Dial("tcp", to)
			return err
		}); err != nil {
			a.Close()
			continue
		}
		go n.laid(a, b)
		go n.laid(b, a)
	}
}

// single copies byte for byte: each is a segment of its own, for Go sets
// TCP_NODELAY.
func single(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 4096)
	for {
		k, err := from.Read(buf)
		for i := range k {
			if _, err := to.Write(buf[i : i+1]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// far copies a while later: a connection to the other side of the world.
func far(d time.Duration) pipe {
	type chunk struct {
		due  time.Time
		data []byte
	}
	return func(to, from net.Conn) {
		defer from.Close()
		way := make(chan chunk, 1024) // more than a window takes
		go func() {
			defer to.Close()
			for c := range way {
				time.Sleep(time.Until(c.due))
				if _, err := to.Write(c.data); err != nil {
					from.Close()
				}
			}
		}()
		defer close(way)
		for {
			buf := make([]byte, 16<<10)
			k, err := from.Read(buf)
			if k > 0 {
				way <- chunk{time.Now().Add(d), buf[:k]}
			}
			if err != nil {
				return
			}
		}
	}
}
