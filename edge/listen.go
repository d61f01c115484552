package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// ErrPortInUse says that another program listens on an address. The error that
// wraps it names the address and the key to change.
var ErrPortInUse = errors.New("another program listens there")

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
