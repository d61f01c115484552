package edge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol (haproxy.org/download/3.0/doc/proxy-protocol.txt): a line
// of text or a small binary block in front of everything else.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n" // §2.2
	maxProxyLine   = 107                      // §2.1, with CR LF
	maxProxyBlock  = 4096                     // ours; §2.2 allows 65535 and asks senders for no more than 536 in all
)

var errProxyHeader = errors.New("PROXY header")

func badProxy(what string) error { return fmt.Errorf("%w: %s", errProxyHeader, what) }

// readProxyHeader reads exactly the header from r and returns the client's
// address; an invalid one when the proxy speaks for itself (LOCAL) or does not
// know (UNKNOWN).
func readProxyHeader(r io.Reader) (netip.AddrPort, error) {
	// The shortest header, "PROXY UNKNOWN\r\n", is longer than the signature.
	head := make([]byte, len(proxySignature), maxProxyLine)
	if _, err := io.ReadFull(r, head); err != nil {
		return netip.AddrPort{}, badProxy("did not come: " + err.Error())
	}
	if string(head) == proxySignature {
		return readProxyBlock(r)
	}
	if !bytes.HasPrefix(head, []byte("PROXY ")) {
		return netip.AddrPort{}, badProxy("missing")
	}
	for !bytes.HasSuffix(head, []byte("\r\n")) {
		if len(head) == maxProxyLine {
			return netip.AddrPort{}, badProxy("line too long")
		}
		// Byte by byte: what follows the line belongs to net/http.
		head = head[:len(head)+1]
		if _, err := io.ReadFull(r, head[len(head)-1:]); err != nil {
			return netip.AddrPort{}, badProxy("cut: " + err.Error())
		}
	}
	return parseProxyLine(string(head[:len(head)-2]))
}

// parseProxyLine reads "PROXY TCP4 source destination sourceport destinationport" (§2.1).
func parseProxyLine(line string) (netip.AddrPort, error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return netip.AddrPort{}, badProxy("line not understood")
	}
	ip, err := netip.ParseAddr(f[2])
	port, perr := strconv.ParseUint(f[4], 10, 16)
	if err != nil || perr != nil || ip.Zone() != "" || ip.Is4() != (f[1] == "TCP4") {
		return netip.AddrPort{}, badProxy("address not understood")
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
}

// readProxyBlock reads what follows the signature (§2.2).
func readProxyBlock(r io.Reader) (netip.AddrPort, error) {
	var head [4]byte // version and command, family and protocol, length
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return netip.AddrPort{}, badProxy("cut: " + err.Error())
	}
	n := binary.BigEndian.Uint16(head[2:])
	if head[0]>>4 != 2 || head[0]&15 > 1 {
		return netip.AddrPort{}, badProxy("version or command not understood")
	}
	if n > maxProxyBlock {
		return netip.AddrPort{}, badProxy("too long")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return netip.AddrPort{}, badProxy("cut: " + err.Error())
	}
	if head[0]&15 == 0 { // LOCAL: a health check of the proxy itself
		return netip.AddrPort{}, nil
	}
	size := 0
	switch head[1] {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	default: // §2.2: other families are taken like UNKNOWN
		return netip.AddrPort{}, nil
	}
	if len(body) < 2*size+4 {
		return netip.AddrPort{}, badProxy("addresses cut")
	}
	ip, _ := netip.AddrFromSlice(body[:size])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(body[2*size:])), nil
}
