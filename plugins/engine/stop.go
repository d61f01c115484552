package engine

import (
	"errors"
	"strings"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// stop is why a guest was stopped: a panic of a host function, which wazero
// returns as the error of the call.
type stop string

func (s stop) Error() string { return "stopped: " + string(s) }

const (
	stopFuel   stop = "fuel"
	stopWall   stop = "wall"
	stopClosed stop = "closed"
	stopExit   stop = "exit"
	stopMemory stop = "pointer" // it named bytes outside its memory
)

// Kinds of failure that no guest causes in a call.
const (
	kindDepth    = "depth"
	kindTrap     = "trap"
	kindAnswer   = "answer" // not of the ABI
	kindGuest    = "guest"  // it answered error
	kindTooBig   = "too_big"
	kindBusy     = "busy"     // its instance is being replaced
	kindInflight = "inflight" // too many calls
	kindShare    = "share"    // over its share of processor time
	kindBreaker  = "breaker"
)

// kind names a failure for the counts.
func (i *instance) kind(err error) string {
	var s stop
	if errors.As(err, &s) {
		return string(s)
	}
	var f abi.Fault
	if errors.As(err, &f) {
		switch f {
		case abi.FaultGuest:
			return kindGuest
		case abi.FaultTooBig:
			return kindTooBig
		}
		return kindAnswer
	}
	if i.depthLeft() < 0 {
		return kindDepth
	}
	return kindTrap
}

// maxTrace bounds what a failure puts into the log, in bytes: a trap comes with
// the guest's stack.
const maxTrace = 512

func brief(err error) string {
	text, _, _ := strings.Cut(err.Error(), " (recovered by wazero)")
	if len(text) > maxTrace {
		text = text[:maxTrace] + "…"
	}
	return text
}
