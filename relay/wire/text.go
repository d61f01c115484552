package wire

import (
	"encoding/base64"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Fields of the JSON form are appended with their comma: "t" is always before.

func appendStr(dst []byte, key, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(append(dst, key...), s)
}

func appendUint(dst []byte, key string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, key...), n, 10)
}

// appendInt omits what is not positive: the protocol has no negative numbers.
func appendInt[T int | int64](dst []byte, key string, n T) []byte {
	return appendUint(dst, key, uint64(max(n, 0)))
}

func appendTrue(dst []byte, key string, is bool) []byte {
	if !is {
		return dst
	}
	return append(append(dst, key...), "true"...)
}

func appendStrings(dst []byte, key string, list []string) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(append(dst, key...), '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. The line ends of JavaScript (U+2028,
// U+2029) are escaped; what is not UTF-8 becomes U+FFFD.
func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(append(dst, s[start:i]...), "\ufffd"...)
			start = i + n
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', '2', '0', '2', hexDigits[r&15])
			start = i + n
		}
		i += n
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// AppendPayloadJSON appends the payload as fields of a JSON object, without a
// comma before: `"data":…` and, where data does not say it all, `"enc":…`
// (PROTOCOL §4.2). An empty payload appends nothing. No line end is appended.
func AppendPayloadJSON(dst, data []byte) []byte {
	switch {
	case len(data) == 0:
		return dst
	case !utf8.Valid(data):
		dst = append(dst, `"data":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, data)
		return append(dst, `","enc":"base64"`...)
	case isJSON(data):
		return appendCompact(append(dst, `"data":`...), data)
	}
	dst = appendString(append(dst, `"data":`...), data)
	return append(dst, `,"enc":"text"`...)
}

// appendUnquoted appends what a well formed JSON string, quotes included, says.
// Half a surrogate pair becomes U+FFFD, as in encoding/json.
func appendUnquoted(dst, quoted []byte) []byte {
	b := quoted[1 : len(quoted)-1]
	start := 0
	for i := 0; i < len(b); {
		if b[i] != '\\' {
			i++
			continue
		}
		dst = append(dst, b[start:i]...)
		i += 2
		switch c := b[i-1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(b, i)
			i += 4
			if utf16.IsSurrogate(r) {
				var low rune
				if i+6 <= len(b) && b[i] == '\\' && b[i+1] == 'u' {
					low, _ = hex4(b, i+2)
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
		start = i
	}
	return append(dst, b[start:]...)
}
