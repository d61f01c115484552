package wire

// A small JSON scanner (RFC 8259). encoding/json would do, but it takes field
// names in any case, which two servers would read differently, and the payload
// of every message passes here once per publish and once per encoding.

// MaxDepth is how deep the arrays and objects of one JSON message may nest.
const MaxDepth = 512

// maxPayloadDepth leaves room for the deepest frame around a payload: array of
// frames, history page, its messages, one message.
const maxPayloadDepth = MaxDepth - 8

// skipSpace returns the index of the first byte of b at or after i that is not
// JSON white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skipValue returns the index behind the JSON value that begins at b[i], or -1
// if there is none, if it nests deeper than depth, or if it is not well formed.
func skipValue(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i, depth)
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	}
	return skipNumber(b, i)
}

func skipWord(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// skipNested skips an object or array.
func skipNested(b []byte, i, depth int) int {
	if depth == 0 {
		return -1
	}
	object := b[i] == '{'
	end := byte(']')
	if object {
		end = '}'
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == end {
		return i + 1
	}
	for {
		if object {
			if i >= len(b) || b[i] != '"' {
				return -1
			}
			if i = skipString(b, i); i < 0 {
				return -1
			}
			i = skipSpace(b, i)
			if i >= len(b) || b[i] != ':' {
				return -1
			}
			i = skipSpace(b, i+1)
		}
		if i = skipValue(b, i, depth-1); i < 0 {
			return -1
		}
		i = skipSpace(b, i)
		if i >= len(b) {
			return -1
		}
		if b[i] == end {
			return i + 1
		}
		if b[i] != ',' {
			return -1
		}
		i = skipSpace(b, i+1)
	}
}

// plain are the bytes that stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 256; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// skipString skips a string. Its UTF-8 is checked elsewhere.
func skipString(b []byte, i int) int {
	for i++; ; i++ {
		for i < len(b) && plain[b[i]] {
			i++
		}
		if i >= len(b) || b[i] < 0x20 {
			return -1
		}
		if b[i] == '"' {
			return i + 1
		}
		i++
		if i >= len(b) {
			return -1
		}
		switch b[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if _, ok := hex4(b, i+1); !ok {
				return -1
			}
			i += 4
		default:
			return -1
		}
	}
}

// hex4 reads the four digits of a \u escape.
func hex4(b []byte, i int) (r rune, ok bool) {
	if i+4 > len(b) {
		return 0, false
	}
	for _, c := range b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

func skipNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	whole := i
	if i = skipDigits(b, i); i == whole || i > whole+1 && b[whole] == '0' {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		part := i + 1
		if i = skipDigits(b, part); i == part {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		power := i
		if i = skipDigits(b, i); i == power {
			return -1
		}
	}
	return i
}

// isJSON reports whether data is one JSON value that a frame can hold. UTF-8 is
// checked elsewhere.
func isJSON(data []byte) bool {
	i := skipSpace(data, 0)
	if i = skipValue(data, i, maxPayloadDepth); i < 0 {
		return false
	}
	return skipSpace(data, i) == len(data)
}

// appendCompact appends a well formed JSON value without the white space
// between its tokens: what is left holds no line end.
func appendCompact(dst, value []byte) []byte {
	start := 0
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			i = skipString(value, i) - 1
		case c <= ' ':
			dst = append(dst, value[start:i]...)
			start = i + 1
		}
	}
	return append(dst, value[start:]...)
}
