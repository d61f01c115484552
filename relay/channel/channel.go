// Package channel holds the rules of channel names and patterns (PROTOCOL §2).
// It imports the standard library only. Nothing here allocates, except to make
// an error.
//
// A name is 1 to 16 tokens joined by '.', at most 255 bytes; a token is 1 to 64
// of A-Z a-z 0-9 _ -. In a pattern a token may also be '*', which stands for
// any one token, and the last token may be '>', which stands for one or more.
package channel

import "strings"

// Limits of a name or pattern.
const (
	MaxBytes  = 255 // of a whole name
	MaxToken  = 64  // bytes of one token
	MaxTokens = 16
)

// Check reports what is wrong with the name of one channel, as an *Error.
func Check(name string) error {
	_, err := check(name, false)
	return err
}

// CheckPattern reports what is wrong with a pattern, as an *Error. A plain name
// is a pattern too; wild tells whether p has a wildcard, also when it is wrong.
func CheckPattern(p string) (wild bool, err error) { return check(p, true) }

func check(name string, pattern bool) (wild bool, err error) {
	wild = strings.IndexByte(name, '*') >= 0 || strings.IndexByte(name, '>') >= 0
	switch {
	case name == "":
		return wild, &Error{Kind: Empty, Token: 1}
	case name[0] == '$':
		return wild, &Error{Kind: Reserved, Name: clip(name), Token: 1}
	case len(name) > MaxBytes:
		return wild, &Error{Kind: TooLong, Name: clip(name), At: MaxBytes}
	}
	token, start := 1, 0
	for i := 0; ; i++ {
		if i < len(name) && name[i] != '.' {
			if !allowed[name[i]] && !(pattern && (name[i] == '*' || name[i] == '>')) {
				return wild, &Error{Kind: kindOf(name[i]), Name: name, Token: token, At: i}
			}
			continue
		}
		switch n := i - start; {
		case n == 0:
			return wild, &Error{Kind: EmptyToken, Name: name, Token: token, At: start}
		case token > MaxTokens:
			return wild, &Error{Kind: TooManyTokens, Name: name, Token: token, At: start}
		case n > MaxToken:
			return wild, &Error{Kind: TokenTooLong, Name: name, Token: token, At: start}
		case wild && n > 1:
			if at := strings.IndexAny(name[start:i], "*>"); at >= 0 {
				return wild, &Error{Kind: PartWildcard, Name: name, Token: token, At: start + at}
			}
		case name[start] == '>' && i < len(name):
			return wild, &Error{Kind: RestNotLast, Name: name, Token: token, At: start}
		}
		if i == len(name) {
			return wild, nil
		}
		token, start = token+1, i+1
	}
}

// allowed are the bytes of a token.
var allowed = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") {
		t[c] = true
	}
	return t
}()

func kindOf(c byte) Kind {
	if c == '*' || c == '>' {
		return Wildcard
	}
	return BadByte
}

// Namespace returns the first token of a name or pattern.
func Namespace(name string) string {
	first, _, _ := strings.Cut(name, ".")
	return first
}

// FixesFirst reports whether the first token of a pattern is no wildcard: all
// channels it matches are then of one namespace.
func FixesFirst(pattern string) bool {
	first := Namespace(pattern)
	return first != "*" && first != ">"
}
