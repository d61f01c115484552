package wire

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// maxCode bounds the code in a reason, so that something is left for the text.
const maxCode = 32

// ReasonJSON returns the reason of a close frame: {"code","retry_ms","text"},
// at most 123 bytes (RFC 6455 §5.5.1). The text is cut between characters where
// it does not fit.
func ReasonJSON(ce *CloseError) []byte {
	dst := make([]byte, 0, maxReason)
	dst = append(dst, `{"code":`...)
	dst = appendString(dst, string(ce.Code[:min(len(ce.Code), maxCode)]))
	if ce.Retry > 0 {
		dst = strconv.AppendInt(append(dst, `,"retry_ms":`...), ce.Retry, 10)
	}
	if text := fitting(ce.Text, maxReason-len(dst)-len(`,"text":""}`)); text != "" {
		dst = appendString(append(dst, `,"text":`...), text)
	}
	return append(dst, '}')
}

// fitting returns as much of s as takes at most n bytes in a JSON string.
func fitting(s string, n int) string {
	var one [16]byte
	for i := 0; i < len(s); {
		_, size := utf8.DecodeRuneInString(s[i:])
		if n -= len(appendString(one[:0], s[i:i+size])) - 2; n < 0 {
			return s[:i]
		}
		i += size
	}
	return s
}

// ParseReason reads what ReasonJSON wrote. Its second result is false, and only
// Text is set, for a reason that is not ours: a proxy may have given it. Close
// is not in the reason.
func ParseReason[T ~string | ~[]byte](reason T) (CloseError, bool) {
	var r struct {
		Code  Code   `json:"code"`
		Text  string `json:"text"`
		Retry int64  `json:"retry_ms"`
	}
	if json.Unmarshal([]byte(reason), &r) != nil || r.Code == "" {
		return CloseError{Text: string(reason)}, false
	}
	return CloseError{Code: r.Code, Text: r.Text, Retry: max(r.Retry, 0)}, true
}
