//go:build !unix

package ws

import (
	"bytes"
	"net"
)

func read(c net.Conn, take func([]byte, *bytes.Reader) error) error { return readAny(c, take) }
