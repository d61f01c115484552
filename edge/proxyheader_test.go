package edge

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
)

func block(command, family byte, body string) string {
	return proxySignature + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
}

func TestProxyHeader(t *testing.T) {
	v4 := "\x0a\x01\x02\x03\x7f\x00\x00\x01\x04\xd2\x1f\x90"
	v6 := "\xfd" + strings.Repeat("\x00", 14) + "\x01" + strings.Repeat("\x00", 15) + "\x01" + "\x04\xd2\x1f\x90"
	mapped := strings.Repeat("\x00", 10) + "\xff\xff\x0a\x01\x02\x03" + strings.Repeat("\x00", 16) + "\x00\x01\x00\x02"
	for _, c := range []struct {
		name, in, want string // want: "" refused, "peer" the proxy's own address
	}{
		{"v1 IPv4", "PROXY TCP4 10.1.2.3 127.0.0.1 1234 8080\r\n", "10.1.2.3:1234"},
		{"v1 IPv6", "PROXY TCP6 fd00::1 ::1 1234 8080\r\n", "[fd00::1]:1234"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "peer"},
		{"v1 unknown with rest", "PROXY UNKNOWN ff ff 1 2\r\n", "peer"},
		{"v1 wrong family", "PROXY TCP4 fd00::1 ::1 1234 8080\r\n", ""},
		{"v1 port", "PROXY TCP4 10.1.2.3 127.0.0.1 65536 8080\r\n", ""},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", ""},
		{"v1 fields", "PROXY TCP4 10.1.2.3 127.0.0.1 1234\r\n", ""},
		{"v1 without end", "PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", ""},
		{"v1 cut", "PROXY TCP4 10.1.2.3", ""},
		{"v2 IPv4", block(0x21, 0x11, v4), "10.1.2.3:1234"},
		{"v2 IPv6", block(0x21, 0x21, v6), "[fd00::1]:1234"},
		{"v2 mapped", block(0x21, 0x21, mapped), "10.1.2.3:1"},
		{"v2 with extras", block(0x21, 0x11, v4+"\x03\x00\x04abcd"), "10.1.2.3:1234"},
		{"v2 local", block(0x20, 0x00, ""), "peer"},
		{"v2 unix", block(0x21, 0x31, strings.Repeat("x", 216)), "peer"},
		{"v2 short", block(0x21, 0x11, v4[:8]), ""},
		{"v2 version 3", block(0x31, 0x11, v4), ""},
		{"v2 command 2", block(0x22, 0x11, v4), ""},
		{"v2 huge", block(0x21, 0x11, strings.Repeat("x", maxProxyBlock+1)), ""},
		{"v2 cut", block(0x21, 0x11, v4)[:20], ""},
		{"none", "GET / HTTP/1.1\r\n\r\n", ""},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := bytes.NewReader([]byte(c.in + "GET /"))
			got, err := readProxyHeader(r)
			switch {
			case c.want == "":
				if !errors.Is(err, errProxyHeader) {
					t.Fatalf("%v, %v; want a refusal", got, err)
				}
				return
			case err != nil:
				t.Fatal(err)
			case c.want == "peer" && got.IsValid(), c.want != "peer" && got.String() != c.want:
				t.Errorf("%v; want %s", got, c.want)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "GET /" {
				t.Errorf("what follows the header is now %q", rest)
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 10.1.2.3 127.0.0.1 1234 8080\r\nGET"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(block(0x21, 0x11, "\x0a\x01\x02\x03\x7f\x00\x00\x01\x04\xd2\x1f\x90")))
	f.Add([]byte(block(0x20, 0, "")))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		addr, err := readProxyHeader(r)
		if err != nil {
			if addr != (netip.AddrPort{}) {
				t.Errorf("refused with an address: %v", addr)
			}
			return
		}
		if addr.Addr().Zone() != "" || addr.Addr().Is4In6() {
			t.Errorf("address %v", addr)
		}
		if read := len(in) - r.Len(); read > maxProxyBlock+16 {
			t.Errorf("read %d bytes", read)
		}
	})
}
