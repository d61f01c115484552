package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// maxHead bounds the head of a response, in bytes.
const maxHead = 16 << 10

// head is what is needed of an HTTP/1.1 response's head (RFC 9112).
type head struct {
	status  int
	length  int // Content-Length; -1: none
	chunked bool
}

var errHead = errors.New("not an HTTP response")

// readHead reads a response head from b. n is 0 when it is not complete.
func readHead(b []byte) (h head, n int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > maxHead {
			return h, 0, fmt.Errorf("%w: no end of the head in %d bytes", errHead, len(b))
		}
		return h, 0, nil
	}
	h.length = -1
	line, rest, _ := bytes.Cut(b[:end], []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.")) || len(line) < 12 {
		return h, 0, fmt.Errorf("%w: %q", errHead, clip(line))
	}
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return h, 0, fmt.Errorf("%w: %q", errHead, clip(line))
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if h.length, err = strconv.Atoi(string(value)); err != nil || h.length < 0 {
				return h, 0, fmt.Errorf("%w: Content-Length %q", errHead, clip(value))
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
	return h, end + 4, nil
}

// readChunk reads one chunk (RFC 9112 §7.1) from b. n is 0 when it is not
// complete; the last chunk has no data.
func readChunk(b []byte) (data []byte, n int, err error) {
	line := bytes.Index(b, []byte("\r\n"))
	if line < 0 {
		if len(b) > 64 {
			return nil, 0, fmt.Errorf("%w: chunk size %q", errHead, clip(b))
		}
		return nil, 0, nil
	}
	digits, _, _ := bytes.Cut(b[:line], []byte(";"))
	size, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 31)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: chunk size %q", errHead, clip(b[:line]))
	}
	end := line + 2 + int(size)
	if len(b) < end+2 {
		return nil, 0, nil
	}
	if b[end] != '\r' || b[end+1] != '\n' {
		return nil, 0, fmt.Errorf("%w: a chunk that does not end", errHead)
	}
	return b[line+2 : end], end + 2, nil
}

func clip(b []byte) []byte { return b[:min(len(b), 80)] }
