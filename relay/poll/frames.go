package poll

import (
	"bytes"
	"iter"
)

// each walks over the frames that a session gave: JSON objects of our own
// encoder, each followed by a comma.
func each(frames []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		start, depth, quoted := 0, 0, false
		for i := 0; i < len(frames); i++ {
			switch c := frames[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == '{':
				depth++
			case c == '}':
				depth--
			case c == ',' && depth == 0:
				if !yield(frames[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}

var typeKey = []byte(`{"t":"`)

// kind is the type of a frame, which our encoder writes first.
func kind(frame []byte) string {
	rest, ok := bytes.CutPrefix(frame, typeKey)
	if !ok {
		return ""
	}
	name, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(name)
}
