package conformance

import "github.com/chappe-relay/chappe/wasm/abi"

// Host runs guests.
type Host interface {
	// Load makes an instance of a module with a configuration, a JSON object. It
	// fails if the module is refused, or the guest refuses the configuration.
	Load(module, config []byte) (Guest, error)
}

// Guest is one plugin with one instance at a time.
type Guest interface {
	// Call calls a hook. A trap and an answer that is not of the ABI (§6.1) are
	// errors, and end the instance: the next call has another. The output is the
	// out-buffer, as far as the host knows it; it holds until the next call.
	Call(h abi.Hook, frame []byte) (word uint64, out []byte, err error)
	Close() error
}

// Observer is a Guest whose log and metrics can be seen; the cases that need it
// are skipped otherwise.
type Observer interface {
	// Log returns the lines since it was last called.
	Log() []Line
	// Metric is the value of a metric.
	Metric(name string) int64
}

// Clock is a Guest whose store lets keys end by the time in the frames; the cases
// that need it are skipped otherwise.
type Clock interface {
	FollowsFrames() bool
}

// Line is one line of the log.
type Line struct {
	Level uint32 `json:"level"`
	Text  string `json:"text"`
}
