package chappe

import "strings"

// Names of channels (PROTOCOL §2), as package relay/channel has them; that one
// explains what is wrong with a name, which would make a module 0.7 MB larger.
const (
	maxBytes  = 255
	maxTokens = 16
	maxToken  = 64
)

// IsChannel reports whether a text is the name of a channel.
func IsChannel(name string) bool { return named(name, false) }

// IsPattern reports whether a text is a pattern; the name of a channel is one.
func IsPattern(p string) bool { return named(p, true) }

func named(name string, pattern bool) bool {
	if len(name) > maxBytes {
		return false
	}
	tokens := 0
	for more := true; more; {
		var token string
		token, name, more = strings.Cut(name, ".")
		if tokens++; tokens > maxTokens || token == "" || len(token) > maxToken {
			return false
		}
		if pattern && (token == "*" || token == ">" && !more) {
			continue
		}
		for i := range len(token) {
			c := token[i]
			if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' && c != '-' {
				return false
			}
		}
	}
	return true
}

// Matches reports whether a pattern matches the name of a channel: "*" stands
// for one token, ">" at the end for one or more.
func Matches(pattern, name string) bool {
	for {
		want, wantRest, wantMore := strings.Cut(pattern, ".")
		got, gotRest, gotMore := strings.Cut(name, ".")
		switch {
		case want == ">":
			return got != ""
		case want == "*":
			if got == "" {
				return false
			}
		case want != got:
			return false
		}
		if !wantMore || !gotMore {
			return wantMore == gotMore
		}
		pattern, name = wantRest, gotRest
	}
}
