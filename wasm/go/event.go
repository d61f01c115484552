package chappe

import "github.com/chappe-relay/chappe/wasm/abi"

// Event is what a hook is told. Which parts are there depends on the hook (ABI
// §5); others are empty. Strings may be kept; byte slices are views of the
// frame, for the time of the call: copy what you keep, and change nothing.
type Event struct{ f abi.Frame }

// Channel is the channel; for a subscription perhaps a pattern, see Pattern.
func (e *Event) Channel() string { return intern(e.f.Ref(abi.OffChannel)) }

// Session is the public id of the client's session. It is empty for messages
// published by HTTP.
func (e *Event) Session() string { return intern(e.f.Ref(abi.OffClient)) }

// User is the client's user; for deliver, the publisher's. It is empty for
// anonymous clients and API keys.
func (e *Event) User() string { return intern(e.f.Ref(abi.OffUser)) }

// Claims are those of the client's token, a JSON object; nil if there are none.
func (e *Event) Claims() []byte { return e.f.Ref(abi.OffClaims) }

// Claim is one claim: the contents of a string, the JSON text of anything else,
// "" if there is none. A string is not told from other values: use Lookup where
// that matters.
func (e *Event) Claim(name string) string {
	v, ok := Lookup(e.Claims(), name)
	if !ok {
		return ""
	}
	if s, ok := v.Text(); ok {
		return s
	}
	return string(v)
}

// Payload is the message.
func (e *Event) Payload() []byte { return e.f.Ref(abi.OffPayload) }

// Name is the event name that the publisher gave.
func (e *Event) Name() string { return intern(e.f.Ref(abi.OffEvent)) }

// Key is the conflation key.
func (e *Event) Key() string { return intern(e.f.Ref(abi.OffKey)) }

// ID is the idempotency id.
func (e *Event) ID() string { return string(e.f.Ref(abi.OffID)) }

// Now is the time of the call, in milliseconds since 1970. It stands still
// during a call. For deliver it is the message's time.
func (e *Event) Now() int64 { return int64(e.f.Now()) }

// Stamp is the message's place in time, in microseconds since 1970; 0 before it
// is published.
func (e *Event) Stamp() uint64 { return e.f.Tick() }

// Binary reports that the payload was not sent as text.
func (e *Event) Binary() bool { return e.f.Flags()&abi.FlagBinary != 0 }

// Mesh reports that the message entered at another node.
func (e *Event) Mesh() bool { return e.f.Flags()&abi.FlagMesh != 0 }

// Replay reports that a reader catches up from history.
func (e *Event) Replay() bool { return e.f.Flags()&abi.FlagReplay != 0 }

// Pattern reports that Channel is a pattern.
func (e *Event) Pattern() bool { return e.f.Flags()&abi.FlagPattern != 0 }

// Backend reports that the client is a back end with an API key.
func (e *Event) Backend() bool { return e.f.Flags()&abi.FlagBackend != 0 }

// Remote is the client's address; for connect.
func (e *Event) Remote() string { return e.connection("remote") }

// Agent is the client's User-Agent; for connect.
func (e *Event) Agent() string { return e.connection("agent") }

func (e *Event) connection(name string) string {
	if e.f.Hook() != abi.Connect {
		return ""
	}
	v, _ := Lookup(e.Payload(), name)
	s, _ := v.Text()
	return s
}

// Joined reports, for presence, that the member joined rather than left.
func (e *Event) Joined() bool { return e.f.Hook() == abi.Presence && e.f.Arg0() == 1 }

// CloseCode is, for disconnect, the WebSocket close code.
func (e *Event) CloseCode() int {
	if e.f.Hook() != abi.Disconnect {
		return 0
	}
	return int(e.f.Arg0())
}

// Frame is the frame itself.
func (e *Event) Frame() abi.Frame { return e.f }

// The same few names come again and again: keeping them saves an allocation,
// and so the garbage collector's fuel.
var names = make(map[string]string, maxNames)

const (
	maxNames = 512
	maxName  = 128
)

func intern(b []byte) string {
	if s, ok := names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(b) > maxName {
		return s
	}
	if len(names) == maxNames {
		clear(names)
	}
	names[s] = s
	return s
}
