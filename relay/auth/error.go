package auth

import (
	"fmt"

	"github.com/chappe-relay/chappe/relay/wire"
)

// Error says why a credential was refused. Text is for people and names what is
// wrong, by the path of the claim where there is one; it never holds any part of
// the credential, because it goes to logs and to whoever sent it.
type Error struct {
	Code wire.Code // bad_token, token_expired, revoked or overloaded
	Text string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Text }

// Wire returns e as the frame that tells a client. Nil for a nil e.
func (e *Error) Wire() *wire.Err {
	if e == nil {
		return nil
	}
	return &wire.Err{Code: e.Code, Text: e.Text}
}

func bad(format string, args ...any) *Error {
	return &Error{Code: wire.CodeBadToken, Text: fmt.Sprintf(format, args...)}
}

var errExpired = &Error{Code: wire.CodeTokenExpired, Text: "the token expired"}
