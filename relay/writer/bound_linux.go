package writer

import "syscall"

const (
	tcpNotSentLowat = 25 // TCP_NOTSENT_LOWAT of linux/tcp.h; package syscall has no name for it

	// notSent is how many bytes a socket holds that are not yet on the way. Without
	// a bound the kernel takes 4 MiB and more for a reader that is dead, and
	// nothing here would know that it is behind.
	notSent = 16 << 10
)

// bound keeps the kernel from hiding a backlog.
func bound(rc syscall.RawConn) {
	rc.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, notSent)
	})
}
