package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// ErrPortInUse says that another program listens on an address. The error that
// wraps it names the address and the key to change.
var ErrPortInUse = errors.New("another program listens there")

// twin listens at the same port of the other family's loopback address; nil if it
// is taken, or this machine has none, or addr is no loopback address.
func twin(addr net.Addr) net.Listener {
	at, ok := addr.(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() {
		return nil
	}
	ln, err := listen("", net.JoinHostPort(otherLoopback(at.IP).String(), strconv.Itoa(at.Port)))
	if err != nil {
		return nil
	}
	return ln
}

func otherLoopback(ip net.IP) net.IP {
	if ip.To4() == nil {
		return net.IPv4(127, 0, 0, 1)
	}
	return net.IPv6loopback
}

const wsaAddrInUse = 10048 // WSAEADDRINUSE; package syscall's EADDRINUSE is an invention on Windows

// listen opens a TCP listener; key is where its address is configured.
func listen(key, addr string) (net.Listener, error) {
	// The default would ask for keep-alive probes per connection, which the
	// protocol's own pings make needless: four system calls less for each.
	lc := net.ListenConfig{KeepAlive: -1}
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err == nil {
		return ln, nil
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && (errno == syscall.EADDRINUSE || errno == wsaAddrInUse) {
		return nil, fmt.Errorf("%s: %s: %w", key, addr, ErrPortInUse)
	}
	if errors.Is(err, syscall.EACCES) {
		return nil, fmt.Errorf("%s: %s: this user may not listen there; ports below 1024 need a privilege", key, addr)
	}
	return nil, fmt.Errorf("%s: %w", key, err)
}
