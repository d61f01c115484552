//go:build unix && !linux

package writer

import "syscall"

// sendBuffer bounds what the kernel holds for a connection where it has no
// TCP_NOTSENT_LOWAT, or one that does not govern writes.
const sendBuffer = 64 << 10

// bound keeps the kernel from hiding a backlog.
func bound(rc syscall.RawConn) {
	rc.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer)
	})
}
