//go:build !unix

package writer

import (
	"net"
	"syscall"
)

type rawConn = syscall.RawConn

// rawOf finds no way here: every write goes by a goroutine that may wait.
func rawOf(net.Conn) rawConn { return nil }

type attempt struct{}

func newAttempt() *attempt { return nil }

func (*attempt) try(rawConn, []byte) (int, error) { return 0, net.ErrClosed }
