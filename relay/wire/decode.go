package wire

import "fmt"

// Side says who sent what is decoded, and so which frames are legal.
type Side uint8

// Sides.
const (
	FromClient Side = iota
	FromServer
)

func (s Side) String() string {
	if s == FromServer {
		return "server"
	}
	return "client"
}

// MaxFramesPerMessage bounds the frames in one message of a client. Servers are
// trusted with more.
const MaxFramesPerMessage = 256

// DecodeError says why bytes are not a frame. Ref is that of the faulty request
// where it could be read, so that an err frame can answer it.
type DecodeError struct {
	Code Code   // CodeBadFrame, CodeBadJSON, CodeBadUTF8 or CodeTooMany
	Text string // one line for people, naming the field or the place
	Ref  uint32
}

func (e *DecodeError) Error() string { return string(e.Code) + ": " + e.Text }

func badFrame(format string, args ...any) *DecodeError {
	return &DecodeError{Code: CodeBadFrame, Text: fmt.Sprintf(format, args...)}
}

func tooMany() *DecodeError {
	return &DecodeError{Code: CodeTooMany, Text: fmt.Sprintf("more than %d frames in one message", MaxFramesPerMessage)}
}

// maxInt bounds the fields of type int, so that they mean the same on 32 bits.
const maxInt = 1<<31 - 1
