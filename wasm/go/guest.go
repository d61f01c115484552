package chappe

import "github.com/chappe-relay/chappe/wasm/abi"

// Handler answers a hook.
type Handler func(e *Event) Verdict

var (
	handlers [abi.Hooks]Handler
	in       []byte
	out      []byte
	event    Event
)

// Register sets the handler of a hook. The packages of the hooks call it: without
// their exports it has no effect.
func Register(h abi.Hook, f Handler) { handlers[h] = f }

// Handles reports whether a hook has a handler.
func Handles(h abi.Hook) bool { return h < abi.Hooks && handlers[h] != nil }

// Configure has f called with the configuration, a JSON object, before any hook.
// An error's text refuses it, and with it the version at upload.
func Configure(f func(config []byte) error) {
	handlers[abi.Init] = func(e *Event) Verdict {
		if err := f(e.Payload()); err != nil {
			return Deny(400, err.Error())
		}
		return Allow
	}
}

// Buffers makes the buffers of chappe_buffers (ABI §10.3).
func Buffers(inCap, outCap uint32) (i, o []byte) {
	in, out = make([]byte, inCap), make([]byte, outCap)
	return in, out
}

// Serve answers a hook with the frame of n bytes that lies in the in-buffer: it
// is what the packages of the hooks export.
func Serve(h abi.Hook, n uint32) uint64 {
	f := abi.Frame(in[:n])
	if f.Check() != nil || f.Hook() != h {
		return abi.Word(abi.Error, 0, 0, uint32(copy(out, "chappe: malformed frame")))
	}
	if h == abi.PublishBatch {
		return serveBatch(f)
	}
	return serve(h, f, out)
}

func serve(h abi.Hook, f abi.Frame, out []byte) uint64 {
	handle := handlers[h]
	if handle == nil {
		return abi.Word(abi.Allow, 0, 0, 0)
	}
	event.f = f
	v := handle(&event)
	return v.encode(out)
}

// serveBatch stops when the next message might not find its 64 KiB.
func serveBatch(f abi.Frame) uint64 {
	n := int(f.Arg0())
	at, k := 8*n, 0
	for k < n && (k == 0 || len(out)-at >= abi.OutBuffer) {
		word := serve(abi.Publish, f.Message(k), out[at:])
		put(out[8*k:], word)
		at += int(word >> 32)
		k++
	}
	return abi.Word(abi.Allow, 0, uint16(k), uint32(at))
}

func put(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (8 * i))
	}
}
