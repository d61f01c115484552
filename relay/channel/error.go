package channel

import (
	"errors"
	"fmt"
)

// Kind is what is wrong with a name.
type Kind uint8

// Kinds.
const (
	Empty         Kind = iota + 1 // the name has no bytes
	Reserved                      // begins with '$': the server's own
	TooLong                       // over MaxBytes
	TooManyTokens                 // over MaxTokens
	EmptyToken                    // a dot at an end, or two in a row
	TokenTooLong                  // over MaxToken
	BadByte                       // not of A-Z a-z 0-9 _ -
	Wildcard                      // '*' or '>' where a plain channel is due
	PartWildcard                  // '*' or '>' as a part of a token
	RestNotLast                   // '>' before the last token
)

// ErrReserved is what errors.Is finds in the error of a name that begins with '$'.
var ErrReserved = errors.New("channel names that begin with '$' are reserved")

// Error says what is wrong with a name, and where.
type Error struct {
	Kind  Kind
	Name  string // the offending name, cut to what can be shown
	Token int    // number of the offending token, from 1; 0: the whole name
	At    int    // offset of the offending byte, from 0
}

// Error returns one line for people.
func (e *Error) Error() string {
	switch e.Kind {
	case Empty:
		return "a channel name is empty"
	case Reserved:
		return ErrReserved.Error() + fmt.Sprintf(": %q", e.Name)
	case TooLong:
		return fmt.Sprintf("channel name %q is longer than %d bytes", e.Name, MaxBytes)
	case TooManyTokens:
		return fmt.Sprintf("channel name %q has more than %d tokens", e.Name, MaxTokens)
	case EmptyToken:
		return fmt.Sprintf("token %d of channel name %q is empty (byte %d)", e.Token, e.Name, e.At)
	case TokenTooLong:
		return fmt.Sprintf("token %d of channel name %q is longer than %d bytes", e.Token, e.Name, MaxToken)
	case Wildcard:
		return fmt.Sprintf("token %d of %q is a wildcard: a channel is due here, not a pattern (byte %d)", e.Token, e.Name, e.At)
	case PartWildcard:
		return fmt.Sprintf("token %d of pattern %q has %q as a part: a wildcard is a whole token (byte %d)", e.Token, e.Name, e.Name[e.At], e.At)
	case RestNotLast:
		return fmt.Sprintf("token %d of pattern %q is '>' before the last token (byte %d)", e.Token, e.Name, e.At)
	}
	return fmt.Sprintf("token %d of channel name %q has the byte %q; a token is made of A-Z a-z 0-9 _ - (byte %d)", e.Token, e.Name, e.Name[e.At:e.At+1], e.At)
}

// Unwrap makes errors.Is(err, ErrReserved) work.
func (e *Error) Unwrap() error {
	if e.Kind == Reserved {
		return ErrReserved
	}
	return nil
}

// shown bounds how much of a name that is too long is repeated to who sent it.
const shown = 64

func clip(name string) string {
	if len(name) > shown {
		return name[:shown]
	}
	return name
}
